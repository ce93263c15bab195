// How a server's threads accept connections and serve them until a signal comes. It allocates one
// node for each connection, and knows nothing of what the connections need.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_EVENT_LOOP_HPP
#define METE_EXAMPLES_EVENT_LOOP_HPP

#include <array>
#include <cerrno>
#include <chrono>
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

#include "loopback.hpp"

namespace loopback {

// What a connection can do next: a step, one when an event has come, or none.
enum class next { step, event, end };

inline next next_after(ssize_t sent_or_received) {
  if (sent_or_received > 0)
    return next::step;
  return sent_or_received < 0 && errno == EAGAIN ? next::event : next::end;
}

// The connections of one thread of a server. The threads have the listener and the signals in
// common. A Connection is made from its socket, which it closes, and what the thread's connections
// share. It has
//
//   step(is_ending)    receives or sends once
//   is_idle()          it may be closed when the server ends
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
      if (advance(now) && now->second.is_idle())
        connections_.erase(now);
    }
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!connections_.empty() && std::chrono::steady_clock::now() < limit)
      await();
  }

private:
  using table = std::unordered_map<int, Connection>; // by socket
  // Edges: an event comes when something has changed, and steps go on until nothing more can be
  // done.
  static constexpr std::uint32_t any_event = EPOLLIN | EPOLLOUT | EPOLLET;

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
        advance(connections_.find(each->data.fd));
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
      const auto added = connections_.try_emplace(socket, socket, shared_).first;
      if (!watch(epoll_, socket, any_event, EPOLL_CTL_ADD))
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
  bool advance(typename table::iterator which) {
    next after = next::step;
    for (int steps = 0; after == next::step && steps < 64; ++steps)
      after = which->second.step(is_ending_);
    if (after == next::step) // another event comes for it, behind those of the others
      watch(epoll_, which->first, any_event, EPOLL_CTL_MOD);
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
