// chat: a server of chat rooms. Messages are made by some threads, and freed by another.
//
//   chat [--malloc] [port [threads]]
//
// Clients send lines: `join ROOM NAME`, `say TEXT`, `quit`. Readers, threads, take a line apart in
// a scratch arena, make a message, in a mete::shared_pool, and put it into a mete::ring, which
// gives it its place among all others: all see one order. The speaker takes it out, adds it to what
// each member of the room is to get, and frees it. When the ring is full readers wait, and so do
// their clients; a client that does not read is disconnected. --malloc: no pool and no arena.
//
// SPDX-License-Identifier: MIT

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <mete/adapt.hpp>
#include <mete/arena.hpp>
#include <mete/ring.hpp>
#include <mete/shared_pool.hpp>

#include "../support/loopback.hpp"
#include "../support/plain_memory.hpp"

namespace {

constexpr std::size_t max_line_bytes = 400, max_name_bytes = 32, max_unsent_bytes = 8 << 20;

struct client {
  ~client() { close(socket); }

  const int socket, epoll;                   // its reader's
  std::string line = {}, name = {};          // the reader's: what has begun, and as whom it joined
  std::string room = {}, unsent = {};        // the speaker's, as all that follows
  bool is_blocked = false, has_left = false; // blocked: until its reader says that it has room
};

// What a reader tells the speaker. The text lies right behind it.
struct message {
  enum kind_type { came, joined, said, answered, has_room, left, ended } kind;
  client* from;
  std::size_t bytes;

  char* text() { return reinterpret_cast<char*>(this + 1); }
};

// Accepts clients, takes apart what they send, and tells the speaker.
struct reader {
  // Until a signal has come.
  void run() {
    loopback::watch(epoll, signals, EPOLLIN, EPOLL_CTL_ADD);
    for (bool ends = false; !ends;) {
      std::array<epoll_event, 64> ready;
      const int count = epoll_wait(epoll, ready.data(), ready.size(), listens ? -1 : 10);
      if (!std::exchange(listens, true))
        loopback::watch(epoll, listener, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD);
      for (const epoll_event* each = ready.data(); each < ready.data() + count; ++each)
        if (each->data.fd == signals)
          ends = true;
        else if (each->data.fd == listener)
          accept_one();
        else
          serve(*clients.at(each->data.fd), each->events);
    }
    tell(message::ended, nullptr);
  }

  void accept_one() {
    const int socket = loopback::accept_from(listener);
    if (socket >= 0) {
      tell(message::came, clients[socket] = new client{socket, epoll});
      loopback::watch(epoll, socket, EPOLLIN, EPOLL_CTL_ADD);
    } else if (errno != EAGAIN) { // no descriptor is left; epoll would say the same at once
      loopback::watch(epoll, listener, 0, EPOLL_CTL_DEL);
      listens = false;
    }
  }

  void serve(client& from, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) {
      loopback::watch(epoll, from.socket, EPOLLIN, EPOLL_CTL_MOD);
      tell(message::has_room, &from);
    }
    if (!hear(from)) {
      loopback::watch(epoll, from.socket, 0, EPOLL_CTL_DEL);
      clients.erase(from.socket);
      tell(message::left, &from); // the speaker ends it
    }
  }

  // Obeys the lines that have come. False: the client is gone.
  bool hear(client& from) {
    std::array<char, 16384> bytes;
    const ssize_t got = recv(from.socket, bytes.data(), bytes.size(), 0);
    if (got <= 0)
      return got < 0 && errno == EAGAIN;
    std::string_view heard(bytes.data(), static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = heard.find('\n')) != heard.npos;) {
      from.line += heard.substr(0, end);
      if (!obey(from, from.line))
        return false;
      from.line.clear();
      heard.remove_prefix(end + 1);
    }
    from.line += heard;
    return from.line.size() <= max_line_bytes;
  }

  // False: it was `quit`.
  bool obey(client& from, std::string_view line) {
    arena->reset(); // what the line before needed
    std::pmr::vector<std::string_view> words(scratch);
    const auto is_space = [](char each) { return each == ' ' || each == '\t' || each == '\r'; };
    for (auto at = line.begin(); at != line.end();) {
      const auto begin = std::find_if_not(at, line.end(), is_space);
      at = std::find_if(begin, line.end(), is_space);
      if (begin != at)
        words.emplace_back(begin, at);
    }
    std::pmr::string text(scratch);
    if (line.size() > max_line_bytes) {
      tell(message::answered, &from, "! the line is not sent: it has more than 400 bytes\n");
    } else if (words.empty() || words[0] == "quit") {
      return words.empty();
    } else if (words[0] == "join" && words.size() == 3 && words[1].size() <= max_name_bytes &&
               words[2].size() <= max_name_bytes) {
      from.name = words[2];
      text.append("* ").append(from.name).append(" joins ").append(words[1]).append("\n");
      tell(message::joined, &from, text);
    } else if (words[0] == "say" && words.size() > 1 && !from.name.empty()) {
      text.append(from.name).append(":");
      for (std::size_t i = 1; i < words.size(); ++i)
        text.append(" ").append(words[i]);
      tell(message::said, &from, text.append("\n"));
    } else {
      tell(message::answered, &from,
           "! not understood: join ROOM NAME (32 bytes each) first, then say TEXT, or quit\n");
    }
    return true;
  }

  void tell(message::kind_type kind, client* from, std::string_view text = {}) {
    void* const memory = messages.allocate(sizeof(message) + text.size(), alignof(message));
    auto* const made = new (memory) message{kind, from, text.size()};
    std::copy(text.begin(), text.end(), made->text());
    auto place = ring.reserve(sizeof(void*)); // waits while it is full
    new (place.bytes().data()) message*(made);
    place.commit();
  }

  mete::ring<mete::producers::many>& ring;
  std::pmr::memory_resource& messages;
  const int listener, signals, epoll;
  const bool on_malloc;
  mete::resource<mete::arena> arena = {};
  std::pmr::memory_resource* const scratch = on_malloc ? plain_memory::get() : &arena;
  std::unordered_map<int, client*> clients = {}; // by socket
  bool listens = false;                          // not yet, or no descriptor was left
};

// Sends what the readers tell.
struct speaker {
  // Until they have ended, and all is sent to those who read it soon.
  void run() {
    while (readers != 0) {
      obey(ring.read().bytes()); // waits for it
      ring.consume([this](std::span<std::byte> record) { obey(record); }, 255);
      send_all();
    }
    for (int tries = 0; tries < 200 && !clients.empty(); ++tries, send_all())
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  void obey(std::span<std::byte> record) {
    message* const what = *reinterpret_cast<message**>(record.data());
    client* const from = what->from;
    const std::string_view text(what->text(), what->bytes);
    if (what->kind == message::came)
      clients.emplace_back(from);
    if (what->kind == message::joined) // the room is the last word
      from->room = text.substr(text.rfind(' ') + 1);
    if (what->kind == message::joined || what->kind == message::said)
      for (const auto& each : clients)
        if (each->room == from->room)
          each->unsent += text;
    if (what->kind == message::answered)
      from->unsent += text;
    if (what->kind == message::has_room)
      from->is_blocked = false;
    if (what->kind == message::left)
      from->has_left = true;
    readers -= what->kind == message::ended;
    messages.deallocate(what, sizeof(message) + what->bytes, alignof(message));
  }

  void send_all() {
    std::erase_if(clients, [this](const auto& each) {
      send_to(*each);
      return each->has_left || (readers == 0 && each->unsent.empty());
    });
  }

  void send_to(client& to) const {
    if (to.unsent.size() > max_unsent_bytes)
      shutdown(to.socket, SHUT_RDWR); // its reader sees the end
    if (to.unsent.empty() || (to.is_blocked && readers != 0))
      return;
    const ssize_t sent = send(to.socket, to.unsent.data(), to.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
      return to.unsent.clear();
    to.unsent.erase(0, static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    to.is_blocked = !to.unsent.empty();
    if (to.is_blocked)
      loopback::watch(to.epoll, to.socket, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }

  mete::ring<mete::producers::many>& ring;
  std::pmr::memory_resource& messages;
  int readers; // that have not ended
  std::vector<std::unique_ptr<client>> clients = {};
};

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  const loopback::arguments with = loopback::arguments_of("chat", count, arguments, 7947, 64);
  const int signals = loopback::ending_signals(), listener = loopback::listen_on("chat", with.port);
  mete::resource<mete::shared_pool> pool({.name = "messages", .block_bytes = 512});
  std::pmr::memory_resource& messages = with.on_malloc ? *plain_memory::get() : pool;
  mete::ring<mete::producers::many> ring({.capacity_bytes = 1 << 17, .blocking = true});
  std::vector<std::jthread> threads;
  for (int i = 0; i < with.threads; ++i) {
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
      loopback::fail("chat", "serve", with.port, "allow more descriptors: ulimit -n");
    threads.emplace_back(
        [&, epoll] { reader{ring, messages, listener, signals, epoll, with.on_malloc}.run(); });
  }
  speaker{ring, messages, with.threads}.run();
  std::printf("chat: ended, %zu messages left\n", pool->live_blocks());
}
