// http: an HTTP/1.1 server in which the memory of a request ends at once, with its arena.
//
//   http [--malloc] [port [threads]]
//
// What a request needs (headers, parameters, body, answer) lies in its connection's arena; when the
// answer is sent, the arena starts anew and nothing is destroyed. memory.hpp has that, and what
// --malloc changes; request.hpp has what is read and answered. This file is sockets.
//
// SPDX-License-Identifier: MIT

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <new>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../support/loopback.hpp"
#include "memory.hpp"
#include "request.hpp"

namespace {

using clock = std::chrono::steady_clock;

constexpr std::size_t max_discarded_bytes = 1 << 20; // of what comes behind a refused request
constexpr std::chrono::seconds idle_limit{60}, stop_limit{5};

// What one thread serves.
template <class Memory>
class server {
public:
  server(int listener, int signals) : listener_(listener), signals_(signals) {
    loopback::watch(epoll_, listener_, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD);
    loopback::watch(epoll_, signals_, EPOLLIN, EPOLL_CTL_ADD);
  }
  server(const server&) = delete;
  ~server() { close(epoll_); }

  // Until a signal has come and what was under way is answered.
  void run() {
    for (clock::time_point swept = clock::now(); !stopping_ || !sessions_.empty();) {
      std::array<epoll_event, 64> events;
      const int count = epoll_wait(epoll_, events.data(), events.size(), 1000);
      now_ = clock::now();
      for (const epoll_event* each = events.data(); each < events.data() + count; ++each)
        dispatch(each->data.fd);
      if (now_ - swept < std::chrono::seconds(1))
        continue;
      swept = now_;
      std::erase_if(sessions_, [&](const auto& each) {
        return now_ - each.second.active > (stopping_ ? stop_limit : idle_limit);
      });
    }
    std::printf("http: %zu requests answered, %zu buffers left, %zu KiB at most\n", answered_,
                memory_.buffers(), memory_.peak_bytes() >> 10);
  }

private:
  struct session {
    session(int with, Memory& all) : socket(with), memory(all) {}
    session(const session&) = delete;
    session& operator=(const session&) = delete;
    ~session() {
      if (now != nullptr)
        memory.end(now);
      close(socket);
    }

    const int socket;
    typename Memory::connection memory;
    request* now = nullptr;    // what is read or answered
    std::string_view unread;   // in the input buffer
    std::string_view unsent;   // of the answer
    bool over = false;         // the last answer is sent; what still comes is discarded
    std::size_t discarded = 0; // bytes
    std::uint32_t waits_for = EPOLLIN;
    clock::time_point active = {}; // an event came
  };

  void dispatch(int which) {
    if (which == listener_)
      return static_cast<void>(accept_one());
    if (which == signals_)
      return stop();
    const auto found = sessions_.find(which);
    if (found != sessions_.end() && !advance(found->second))
      sessions_.erase(found);
  }

  // One at a time, so that every thread gets some. False: nobody is there.
  bool accept_one() {
    const int socket = loopback::accept_from(listener_);
    if (socket < 0)
      return false;
    try {
      sessions_.reserve(sessions_.size() + 1); // what follows closes the socket if it fails
      sessions_.try_emplace(socket, socket, memory_).first->second.active = now_;
      loopback::watch(epoll_, socket, EPOLLIN, EPOLL_CTL_ADD);
    } catch (const std::bad_alloc& error) {
      refuse(socket, error);
      close(socket);
    }
    return true;
  }

  // Who has asked is answered; who has not is closed.
  void stop() {
    while (accept_one()) {
    }
    loopback::watch(epoll_, listener_, 0, EPOLL_CTL_DEL);
    loopback::watch(epoll_, signals_, 0, EPOLL_CTL_DEL);
    stopping_ = true;
    for (auto each = sessions_.begin(); each != sessions_.end();) {
      session& of = each->second;
      const bool ends = !advance(of) || (!of.over && of.now == nullptr && of.unread.empty());
      each = ends ? sessions_.erase(each) : std::next(each);
    }
  }

  static void refuse(int socket, const std::bad_alloc& error) {
    constexpr std::string_view answer = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                                        "Content-Length: 0\r\n\r\n";
    if (send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) >= 0)
      std::fprintf(stderr, "http: no memory for a connection, answered 503: %s\n", error.what());
  }

  // Does what can be done now. False: the connection is at its end.
  bool advance(session& of) {
    of.active = now_;
    try {
      return of.over ? discard(of) : send_rest(of) && (!of.unsent.empty() || receive(of));
    } catch (const std::bad_alloc& error) {
      refuse(of.socket, error);
      return false;
    }
  }

  bool receive(session& of) {
    char* const input = of.memory.input(); // never full: a whole one holds an end of a header
    char* const end = std::copy(of.unread.begin(), of.unread.end(), input);
    const ssize_t got =
        recv(of.socket, end, static_cast<std::size_t>(input + buffer_bytes - end), 0);
    if (got < 0 && errno != EAGAIN)
      return false;
    of.unread = {input, end + std::max<ssize_t>(got, 0)};
    while (!of.over && of.unsent.empty() && answer_next(of))
      if (!send_rest(of))
        return false;
    if (of.over || (of.unread.empty() && of.now == nullptr))
      of.memory.wait();
    return got != 0 || !of.unsent.empty();
  }

  // Goes on with a request, or begins one. False: more of it has to come.
  bool answer_next(session& of) {
    int status = 0;
    if (of.now == nullptr) {
      const std::size_t end = of.unread.substr(0, max_header_bytes).find("\r\n\r\n");
      if (end == std::string_view::npos && of.unread.size() < max_header_bytes)
        return false;
      of.now = of.memory.begin();
      status = end == std::string_view::npos ? 431 : parse(of.unread.substr(0, end + 2), *of.now);
      of.unread.remove_prefix(std::min(end, of.unread.size() - 4) + 4);
    }
    if (status == 0) {
      request& now = *of.now;
      const std::string_view part = of.unread.substr(0, now.body_bytes - now.body.size());
      now.body += part;
      of.unread.remove_prefix(part.size());
      if (now.body.size() < now.body_bytes)
        return false;
    }
    of.now->is_last |= stopping_ || status != 0;
    respond(*of.now, status);
    of.unsent = of.now->answer;
    ++answered_;
    return true;
  }

  // Sends what the other side takes. False: it is gone.
  bool send_rest(session& of) {
    while (!of.unsent.empty()) {
      const ssize_t sent = send(of.socket, of.unsent.data(), of.unsent.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN)
        return false;
      if (sent < 0)
        break;
      of.unsent.remove_prefix(static_cast<std::size_t>(sent));
      if (of.unsent.empty()) {
        of.over = of.now->is_last;
        of.memory.end(std::exchange(of.now, nullptr));
        if (of.over)
          shutdown(of.socket, SHUT_WR);
      }
    }
    const std::uint32_t wanted = of.unsent.empty() ? EPOLLIN : EPOLLOUT;
    if (wanted != std::exchange(of.waits_for, wanted))
      loopback::watch(epoll_, of.socket, wanted, EPOLL_CTL_MOD);
    return true;
  }

  // Behind the last answer. Closed with bytes unread, a connection is reset, and the answer lost.
  static bool discard(session& of) {
    std::array<char, 4096> nowhere;
    const ssize_t got = recv(of.socket, nowhere.data(), nowhere.size(), 0);
    of.discarded += static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    return got > 0 ? of.discarded < max_discarded_bytes : got < 0 && errno == EAGAIN;
  }

  const int listener_, signals_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  bool stopping_ = false;
  std::size_t answered_ = 0;
  clock::time_point now_ = clock::now();
  Memory memory_;
  std::unordered_map<int, session> sessions_; // by socket; goes before the memory
};

template <class Memory>
void serve(int port, int threads) {
  const int signals = loopback::ending_signals();
  const int listener = loopback::listen_on("http", port);
  std::vector<std::jthread> running;
  while (threads-- > 0)
    running.emplace_back([=] { server<Memory>(listener, signals).run(); });
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory at the start ends it
int main(int count, char** arguments) {
  const loopback::arguments with = loopback::arguments_of("http", count, arguments, 7946, 256);
  with.on_malloc ? serve<heap>(with.port, with.threads) : serve<toolkit>(with.port, with.threads);
}
