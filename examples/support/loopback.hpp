// What the examples with sockets share: TCP on this machine only, and how a server's threads serve
// their connections until a signal comes.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_LOOPBACK_HPP
#define METE_EXAMPLES_LOOPBACK_HPP

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace loopback {

[[noreturn]] inline void fail(const char* program, const char* what, int port, const char* remedy) {
  std::fprintf(stderr, "%s: cannot %s port %d: %s; %s\n", program, what, port, std::strerror(errno),
               remedy);
  std::exit(1);
}

// An argument's number, or -1.
inline int number_of(const char* argument) {
  char* end = nullptr;
  const long number = std::strtol(argument, &end, 10);
  return end != argument && *end == 0 && number >= 0 && number <= INT_MAX ? static_cast<int>(number)
                                                                          : -1;
}

// What a server is called with: [--malloc] [port [threads]].
struct arguments {
  bool on_malloc;
  int port, threads;
};

// Ends the program with its usage if they are wrong.
inline arguments arguments_of(const char* program, int count, char** given, int port,
                              int max_threads) {
  const bool on_malloc = count > 1 && std::strcmp(given[1], "--malloc") == 0;
  const int first = on_malloc ? 2 : 1;
  const arguments with{on_malloc, count > first ? number_of(given[first]) : port,
                       count > first + 1 ? number_of(given[first + 1]) : 1};
  if (with.port < 0 || with.port > 65535 || with.threads < 1 || with.threads > max_threads ||
      count > first + 2) {
    std::fprintf(stderr, "usage: %s [--malloc] [port, 0 for any [threads, 1 to %d]]\n", program,
                 max_threads);
    std::exit(2);
  }
  return with;
}

inline sockaddr_in address_of(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A socket that sends at once, and does not block.
inline int open_socket() {
  const int opened = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); // accepted ones inherit it
  return opened;
}

// Prints where it listens. 0: on any port that is free.
inline int listen_on(const char* program, int port) {
  const int listener = open_socket();
  sockaddr_in here = address_of(port);
  socklen_t length = sizeof(here);
  auto* const address = reinterpret_cast<sockaddr*>(&here);
  if (bind(listener, address, length) != 0 || listen(listener, 4096) != 0)
    fail(program, "listen on", port, "name another, or 0 for any that is free");
  getsockname(listener, address, &length);
  std::printf("%s: listening on 127.0.0.1:%d\n", program, ntohs(here.sin_port));
  std::fflush(stdout);
  return listener;
}

inline int accept_from(int listener) {
  return accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

inline bool watch(int epoll, int which, std::uint32_t events, int how) {
  epoll_event wanted{};
  wanted.events = events;
  wanted.data.fd = which;
  return epoll_ctl(epoll, how, which, &wanted) == 0;
}

// Becomes readable when SIGTERM or SIGINT comes, which then end the process no longer. Threads that
// are started afterwards inherit that; nobody reads it, so all of them see it.
inline int ending_signals() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

// What a connection can do next: a step, one when an event has come, or none.
enum class next { step, event, end };

inline next next_after(ssize_t sent_or_received) {
  if (sent_or_received > 0)
    return next::step;
  return sent_or_received < 0 && errno == EAGAIN ? next::event : next::end;
}

// The connections of one thread of a server. The threads have the listener and the signals in
// common. A Connection is made from its socket, which it closes, the epoll that watches it, and
// what the thread's connections share. It has
//
//   events                     what it is watched for
//   step(events, is_ending)    receives or sends once
//   is_idle()                  it may be closed when the server ends
template <class Connection, class Shared>
class event_loop {
public:
  // `no_memory` is sent to who cannot be served for want of memory.
  event_loop(int epoll, int listener, int signals, Shared& shared, std::string_view no_memory)
      : epoll_(epoll), listener_(listener), signals_(signals), shared_(shared),
        no_memory_(no_memory) {
    watch(epoll_, listener_, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD);
    watch(epoll_, signals_, EPOLLIN, EPOLL_CTL_ADD);
  }
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  // Until a signal has come and all are idle, or five seconds later.
  void run() {
    while (!is_ending_)
      await();
    for (auto each = connections_.begin(); each != connections_.end();) {
      const auto now = each++; // which advance() may erase
      if (advance(now, 0) && now->second.is_idle())
        connections_.erase(now);
    }
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!connections_.empty() && std::chrono::steady_clock::now() < limit)
      await();
  }

private:
  using table = std::unordered_map<int, Connection>; // by socket

  void await() {
    std::array<epoll_event, 64> ready;
    const int count = epoll_wait(epoll_, ready.data(), ready.size(), 1000);
    if (std::exchange(is_full_, false)) // perhaps no longer
      watch(epoll_, listener_, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD);
    for (const epoll_event* each = ready.data(); each < ready.data() + count; ++each)
      if (each->data.fd == listener_)
        accept_one(); // the other threads get some, too
      else if (each->data.fd == signals_)
        begin_to_end();
      else
        advance(connections_.find(each->data.fd), each->events);
  }

  // False: there is none.
  bool accept_one() {
    const int socket = accept_from(listener_);
    if (socket < 0 && errno != EAGAIN) { // no descriptor is left; epoll would say the same at once
      watch(epoll_, listener_, 0, EPOLL_CTL_DEL);
      is_full_ = true;
    }
    if (socket < 0)
      return false;
    try {
      connections_.reserve(connections_.size() + 1); // now it has the socket, or nothing fails
      const auto added = connections_.try_emplace(socket, socket, epoll_, shared_).first;
      if (!watch(epoll_, socket, Connection::events, EPOLL_CTL_ADD))
        connections_.erase(added);
    } catch (const std::bad_alloc&) {
      send(socket, no_memory_.data(), no_memory_.size(), MSG_NOSIGNAL);
      close(socket);
    }
    return true;
  }

  void begin_to_end() {
    while (accept_one()) { // who has connected may have asked
    }
    watch(epoll_, listener_, 0, EPOLL_CTL_DEL);
    watch(epoll_, signals_, 0, EPOLL_CTL_DEL);
    is_full_ = false;
    is_ending_ = true;
  }

  // False: it has ended.
  bool advance(typename table::iterator which, std::uint32_t events) {
    next after = next::step;
    for (int steps = 0; after == next::step && steps < 64; ++steps)
      after = which->second.step(events, is_ending_);
    if (after == next::step) // another event comes for it, behind those of the others
      watch(epoll_, which->first, Connection::events, EPOLL_CTL_MOD);
    else if (after == next::end)
      connections_.erase(which);
    return after != next::end;
  }

  const int epoll_, listener_, signals_;
  Shared& shared_;
  const std::string_view no_memory_;
  table connections_;
  bool is_full_ = false; // no descriptor was left
  bool is_ending_ = false;
};

template <class Connection, class Shared>
void serve(int epoll, int listener, int signals, Shared& shared, std::string_view no_memory) {
  event_loop<Connection, Shared>(epoll, listener, signals, shared, no_memory).run();
}

// Calls body(epoll) on each of so many threads. No thread runs before all have their epoll: clients
// may take all other descriptors.
template <class Body>
void on_threads(int threads, Body body) {
  std::vector<int> epolls;
  for (int i = 0; i < threads; ++i)
    if (epolls.push_back(epoll_create1(EPOLL_CLOEXEC)); epolls.back() < 0) {
      std::fprintf(stderr, "epoll: %s; allow more descriptors: ulimit -n\n", std::strerror(errno));
      std::exit(1);
    }
  std::vector<std::jthread> running;
  for (const int epoll : epolls)
    running.emplace_back(body, epoll);
}

} // namespace loopback

#endif
