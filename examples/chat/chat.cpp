// chat: a server of chat rooms. Messages are made by some threads, and sent and freed by another.
//
//   chat [--malloc] [port [readers]]
//
// Clients send lines: `join ROOM NAME`, `say TEXT`, `quit`. Readers (threads) take lines apart in a
// scratch arena, make each message once, in a mete::shared_pool, and put it into a broadcast ring,
// which gives it its place among all others. The speaker (a thread too) takes it out there and
// sends it to each member of the room: all see one order. When the ring is full readers wait, and
// so do their clients; a client that does not read is disconnected. memory.hpp has what --malloc
// changes.
//
// SPDX-License-Identifier: MIT

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../support/loopback.hpp"
#include "memory.hpp"
#include "reader.hpp"

namespace {

constexpr std::size_t max_waiting = 20'000; // messages for one client

template <class Memory>
class speaker {
public:
  explicit speaker(int listener)
      : in_{.listener = listener, .signals = loopback::ending_signals()} {
    loopback::watch(epoll_, in_.alarm, EPOLLIN, EPOLL_CTL_ADD);
  }

  // Until a signal has come and what was said before is sent.
  void run(int readers) {
    in_.readers = readers;
    std::vector<std::jthread> threads;
    for (int i = 0; i < readers; ++i)
      threads.emplace_back([this] { reader<Memory>(in_).run(); });
    for (bool was_idle = false;;) {
      const bool are_gone = in_.readers == 0; // asked first: what they said is in the ring
      if (was_idle)
        in_.is_asleep.exchange(
            true); // before the look at the ring, mailbox::put() does the contrary
      const bool is_idle = take_events() == 0;
      for (client* const each : std::exchange(due_, {}))
        send_to(*each);
      if (is_idle && are_gone)
        break;
      await(is_idle && was_idle ? -1 : 0);
      was_idle = is_idle;
    }
    const auto waits = [](const auto& each) { return each.second->waiting != 0; };
    for (int i = 0; i < 20 && std::any_of(clients_.begin(), clients_.end(), waits); ++i)
      await(100);
    while (!clients_.empty())
      remove(clients_.begin()->second);
    std::printf("chat: %zu messages, %zu deliveries, %zu left\n", messages_, deliveries_,
                in_.memory.left());
  }

private:
  std::size_t take_events() {
    std::size_t taken = 0;
    for (; taken < 256; ++taken) {
      const std::optional<event> next = in_.memory.take();
      if (!next)
        break;
      obey(*next);
    }
    return taken;
  }

  void obey(const event& what) {
    client& from = *what.from;
    if (what.kind == event::came) {
      clients_[from.socket] = &from;
      loopback::watch(epoll_, from.socket, EPOLLOUT | EPOLLET, EPOLL_CTL_ADD);
    } else if (what.kind == event::left) {
      send_to(from); // what was said before it quit
      remove(&from);
    } else {
      if (what.kind == event::joined)
        enter(from, {what.what->text(), what.what->bytes - 1});
      if (what.kind == event::answered)
        give(from, what.what);
      else
        for (client* const each : rooms_[from.room])
          give(*each, what.what);
      if (what.what->unsent == 0)
        in_.memory.deallocate(what.what);
      ++messages_;
    }
  }

  // The room is the last word.
  void enter(client& who, std::string_view notice) {
    leave(who);
    who.room = notice.substr(notice.rfind(' ') + 1);
    rooms_[who.room].push_back(&who);
  }
  void leave(client& who) {
    if (const auto found = rooms_.find(who.room); found != rooms_.end())
      if (std::erase(found->second, &who); found->second.empty())
        rooms_.erase(found);
  }

  void give(client& to, message* what) {
    if (to.waiting == max_waiting) { // its reader hears of it
      drop_all(to);
      shutdown(to.socket, SHUT_RDWR);
    }
    delivery* const added = in_.memory.make(what);
    (to.last != nullptr ? to.last->next : to.first) = added;
    to.last = added;
    ++to.waiting;
    ++what->unsent;
    ++deliveries_;
    if (!std::exchange(to.is_due, true))
      due_.push_back(&to);
  }

  void drop_first(client& of) {
    delivery* const gone = of.first;
    of.first = gone->next;
    of.last = of.first != nullptr ? of.last : nullptr;
    of.sent_bytes = 0;
    --of.waiting;
    if (--gone->what->unsent == 0)
      in_.memory.deallocate(gone->what);
    in_.memory.end(gone);
  }
  void drop_all(client& of) {
    while (of.first != nullptr)
      drop_first(of);
  }

  void send_to(client& to) {
    to.is_due = false;
    while (to.first != nullptr && !to.is_blocked) {
      std::array<iovec, 64> parts;
      msghdr all{};
      all.msg_iov = parts.data();
      for (delivery* each = to.first; each != nullptr && all.msg_iovlen < parts.size();
           each = each->next)
        parts[all.msg_iovlen++] = {each->what->text(), each->what->bytes};
      parts[0] = {to.first->what->text() + to.sent_bytes, to.first->what->bytes - to.sent_bytes};
      const ssize_t sent = sendmsg(to.socket, &all, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN)
        to.is_blocked = true;
      else if (sent < 0)
        drop_all(to);
      else
        for (to.sent_bytes += static_cast<std::size_t>(sent);
             to.first != nullptr && to.sent_bytes >= to.first->what->bytes;) {
          const std::size_t rest = to.sent_bytes - to.first->what->bytes;
          drop_first(to);
          to.sent_bytes = rest;
        }
    }
  }

  void remove(client* gone) {
    leave(*gone);
    drop_all(*gone);
    std::erase(due_, gone);
    clients_.erase(gone->socket);
    close(gone->socket);
    delete gone;
  }

  void await(int milliseconds) {
    std::array<epoll_event, 64> ready;
    const int count = epoll_wait(epoll_, ready.data(), ready.size(), milliseconds);
    for (const epoll_event* each = ready.data(); each < ready.data() + count; ++each) {
      eventfd_t alarms = 0;
      if (each->data.fd == in_.alarm) {
        eventfd_read(in_.alarm, &alarms);
      } else {
        clients_[each->data.fd]->is_blocked = false;
        send_to(*clients_[each->data.fd]);
      }
    }
  }

  mailbox<Memory> in_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  std::unordered_map<int, client*> clients_; // by socket
  std::unordered_map<std::string, std::vector<client*>> rooms_;
  std::vector<client*> due_; // have something to be sent
  std::size_t messages_ = 0;
  std::size_t deliveries_ = 0;
};

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  const bool on_malloc = count > 1 && std::string_view(arguments[1]) == "--malloc";
  const int first = on_malloc ? 2 : 1;
  const int port = count > first ? loopback::number_of(arguments[first]) : 7947;
  const int readers = count > first + 1 ? loopback::number_of(arguments[first + 1]) : 1;
  if (port < 0 || port > 65535 || readers < 1 || readers > 64 || count > first + 2) {
    std::fprintf(stderr, "usage: chat [--malloc] [port, 0 for any [readers, 1 to 64]]\n");
    return 2;
  }
  const int listener = loopback::listen_on("chat", port);
  if (on_malloc)
    speaker<heap>(listener).run(readers);
  else
    speaker<toolkit>(listener).run(readers);
}
