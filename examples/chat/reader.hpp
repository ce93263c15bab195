// The readers of examples/chat: they accept clients, take apart what they send, and put it into the
// ring for the speaker.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_CHAT_READER_HPP
#define METE_EXAMPLES_CHAT_READER_HPP

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "../support/loopback.hpp"
#include "memory.hpp"

inline constexpr std::size_t max_line_bytes = 400;
inline constexpr std::size_t max_name_bytes = 32;

struct client {
  explicit client(int from) : socket(from) {}

  const int socket;
  std::string line, name; // the reader's: what has begun, and as whom it joined
  std::string room;       // the speaker's, as all that follows; empty: none
  delivery *first = nullptr, *last = nullptr;
  std::size_t waiting = 0;    // deliveries
  std::size_t sent_bytes = 0; // of the first
  bool is_blocked = false;    // until epoll says that there is room
  bool is_due = false;        // it is in due_
};

// What readers and speaker share. Who puts an event in wakes the speaker if it sleeps.
template <class Memory>
struct mailbox {
  void put(const event& what) {
    memory.put(what);
    if (is_asleep.exchange(false))
      wake();
  }
  void wake() const { eventfd_write(alarm, 1); }

  Memory memory = {};
  const int listener, signals;
  const int alarm = eventfd(0, EFD_CLOEXEC);
  std::atomic<int> readers{0};
  std::atomic<bool> is_asleep{false};
};

template <class Memory>
class reader {
public:
  explicit reader(mailbox<Memory>& to) : to_(to) {
    loopback::watch(epoll_, to_.listener, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD);
    loopback::watch(epoll_, to_.signals, EPOLLIN, EPOLL_CTL_ADD);
  }
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;
  ~reader() { close(epoll_); }

  // Until a signal has come.
  void run() {
    for (bool ends = false; !ends;) {
      std::array<epoll_event, 64> ready;
      const int count = epoll_wait(epoll_, ready.data(), ready.size(), -1);
      for (const epoll_event* each = ready.data(); each < ready.data() + count; ++each)
        if (each->data.fd == to_.signals)
          ends = true;
        else if (each->data.fd == to_.listener)
          accept_one();
        else
          hear(each->data.fd);
    }
    --to_.readers;
    to_.wake();
  }

private:
  void accept_one() {
    const int socket = loopback::accept_from(to_.listener);
    if (socket < 0)
      return;
    client* const from = new client(socket);
    mine_[socket] = from;
    to_.put({event::came, from, nullptr});
    loopback::watch(epoll_, socket, EPOLLIN, EPOLL_CTL_ADD);
  }

  void hear(int socket) {
    client* const from = mine_[socket];
    if (obey_all(*from))
      return;
    loopback::watch(epoll_, socket, 0, EPOLL_CTL_DEL);
    mine_.erase(socket);
    to_.put({event::left, from, nullptr}); // it is the speaker's from now on
  }

  void tell(event::kind_type kind, client& from, std::string_view text) {
    auto* const made = new (to_.memory.allocate(sizeof(message) + text.size()))
        message{0, static_cast<std::uint32_t>(text.size())};
    std::copy(text.begin(), text.end(), made->text());
    to_.put({kind, &from, made});
  }

  // Obeys the lines that have come. False: the client is gone.
  bool obey_all(client& from) {
    std::array<char, 16384> bytes;
    const ssize_t got = recv(from.socket, bytes.data(), bytes.size(), 0);
    if (got <= 0)
      return got < 0 && errno == EAGAIN;
    std::string_view heard(bytes.data(), static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = heard.find('\n')) != heard.npos;
         heard.remove_prefix(end + 1)) {
      from.line += heard.substr(0, end);
      const bool stays = obey(from, scratch_.in());
      scratch_.reset();
      from.line.clear();
      if (!stays)
        return false;
    }
    from.line += heard;
    return from.line.size() <= max_line_bytes;
  }

  bool obey(client& from, std::pmr::memory_resource* scratch) {
    constexpr std::string_view between = " \t\r";
    std::pmr::vector<std::string_view> words(scratch);
    const std::string_view line = from.line;
    for (std::size_t begin = 0; (begin = line.find_first_not_of(between, begin)) != line.npos;) {
      const std::size_t end = std::min(line.find_first_of(between, begin), line.size());
      words.push_back(line.substr(begin, end - begin));
      begin = end;
    }
    if (words.empty())
      return true;
    std::pmr::string text(scratch);
    if (line.size() > max_line_bytes) {
      tell(event::answered, from, "! the line is not sent: it has more than 400 bytes\n");
    } else if (words[0] == "join" && words.size() == 3 && words[1].size() <= max_name_bytes &&
               words[2].size() <= max_name_bytes) {
      from.name = words[2];
      text.append("* ").append(words[2]).append(" joins ").append(words[1]).append("\n");
      tell(event::joined, from, text);
    } else if (words[0] == "say" && words.size() > 1 && !from.name.empty()) {
      text.append(from.name).append(":");
      for (std::size_t i = 1; i < words.size(); ++i)
        text.append(" ").append(words[i]);
      tell(event::said, from, text.append("\n"));
    } else if (words[0] != "quit") {
      tell(event::answered, from,
           "! not understood: join ROOM NAME (32 bytes each) first, then say TEXT, or quit\n");
    }
    return words[0] != "quit";
  }

  mailbox<Memory>& to_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  std::unordered_map<int, client*> mine_; // by socket
  typename Memory::scratch scratch_;
};

#endif
