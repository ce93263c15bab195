// chat_load: the load on chat, over loopback, and the proof that it does its work.
//
//   chat_load [port [clients [rooms [messages]]]]
//
// Each client joins a room and says its messages, a few at a time. Every member of the room has to
// get each of them once, with the right words, those of one sender in their order, and all messages
// of the room in the same order as the other members. Prints rates, and percentiles of the time
// from saying to hearing.
//
// SPDX-License-Identifier: MIT

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../support/loopback.hpp"

namespace {

constexpr std::size_t window = 4; // messages of a client that it has not yet got back
constexpr int patience_ms = 20'000;

// A step of SplitMix64: S. Vigna's public-domain constants.
std::uint64_t mix(std::uint64_t state) {
  state += 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}

std::uint64_t nanoseconds() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

struct client {
  int socket = -1;
  std::size_t number = 0;
  std::size_t room = 0;
  std::string unread; // a line that has begun
  std::string unsent;
  bool has_joined = false;
  std::size_t said = 0; // messages
  std::size_t returned = 0;
  std::size_t received = 0;
  std::vector<std::size_t> next; // by sender: which message must come
  std::uint64_t order = 0;       // a hash of all that came
};

// What a message says behind its number and time: 1 to 24 words.
void append_words(std::size_t sender, std::size_t number, std::string& to) {
  std::uint64_t random = mix(sender << 32 | number);
  for (std::uint64_t words = random % 24 + 1; words != 0; --words) {
    random = mix(random);
    to.append(" ").append("conversation", random % 12 + 1);
  }
}

// The number that the text begins with, and removes it and what stands behind it.
std::size_t take_number(std::string_view& from) {
  std::size_t number = 0;
  const char* const end = from.data() + from.size();
  const char* const stopped = std::from_chars(from.data(), end, number).ptr;
  from.remove_prefix(std::min(static_cast<std::size_t>(stopped - from.data()) + 1, from.size()));
  return number;
}

class load {
public:
  load(int port, std::size_t clients, std::size_t rooms, std::size_t messages)
      : rooms_(rooms), messages_(messages), clients_(clients), watched_(clients) {
    for (std::size_t i = 0; i < clients; ++i) {
      client& each = clients_[i];
      each.number = i;
      each.room = i % rooms;
      each.next.resize(clients);
      each.unsent = "join room" + std::to_string(each.room) + " c" + std::to_string(i) + "\n";
      each.socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in there = loopback::address_of(port);
      if (connect(each.socket, reinterpret_cast<const sockaddr*>(&there), sizeof(there)) != 0)
        loopback::fail("chat_load", "connect to", port, "start chat on it first");
      watched_[i] = {each.socket, POLLIN, 0};
      send_rest(each);
    }
  }

  void run() {
    wait_until([this] { return joined_ == clients_.size(); });
    const std::uint64_t start = nanoseconds();
    for (client& each : clients_)
      say(each);
    wait_until([this] { return deliveries_.size() == all_deliveries(); });
    report(static_cast<double>(nanoseconds() - start) / 1e9);
  }

private:
  [[noreturn, gnu::format(printf, 3, 4)]] void fail(const client& at, const char* format,
                                                    ...) const {
    std::fprintf(stderr, "chat_load: c%zu of room%zu: ", at.number, at.room);
    va_list values;
    va_start(values, format);
    std::vfprintf(stderr, format, values);
    va_end(values);
    std::fprintf(stderr, "; %zu of %zu messages have come\n", deliveries_.size(), all_deliveries());
    std::exit(1);
  }

  std::size_t members_of(std::size_t room) const {
    return clients_.size() / rooms_ + (room < clients_.size() % rooms_ ? 1 : 0);
  }
  std::size_t all_deliveries() const {
    std::size_t all = 0;
    for (std::size_t room = 0; room < rooms_; ++room)
      all += members_of(room) * members_of(room) * messages_;
    return all;
  }

  template <class Condition>
  void wait_until(Condition is_reached) {
    while (!is_reached()) {
      if (poll(watched_.data(), watched_.size(), patience_ms) == 0)
        fail(clients_[0], "nothing has come for %d s", patience_ms / 1000);
      for (std::size_t i = 0; i < clients_.size(); ++i)
        if (watched_[i].revents != 0) {
          send_rest(clients_[i]);
          receive(clients_[i]);
        }
    }
  }

  void say(client& from) {
    for (; from.said < messages_ && from.said - from.returned < window; ++from.said) {
      from.unsent.append("say ").append(std::to_string(from.said)).append(" ");
      from.unsent.append(std::to_string(nanoseconds()));
      append_words(from.number, from.said, from.unsent);
      from.unsent += '\n';
    }
    send_rest(from);
  }

  void send_rest(client& from) {
    const ssize_t sent =
        send(from.socket, from.unsent.data(), from.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN)
      fail(from, "cannot send: %s", std::strerror(errno));
    from.unsent.erase(0, static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    watched_[from.number].events = from.unsent.empty() ? POLLIN : POLLIN | POLLOUT;
  }

  void receive(client& at) {
    std::array<char, 65536> bytes;
    const ssize_t got = recv(at.socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN))
      fail(at, "the server has closed the connection");
    const std::uint64_t now = nanoseconds();
    at.unread.append(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = at.unread.find('\n', begin)) != std::string::npos;
         begin = end + 1)
      take(at, std::string_view(at.unread).substr(begin, end - begin), now);
    at.unread.erase(0, begin);
    if (at.has_joined && at.said != 0)
      say(at);
  }

  void take(client& at, std::string_view line, std::uint64_t now) {
    if (line.starts_with("* c")) {
      line.remove_prefix(3);
      const bool is_mine = take_number(line) == at.number;
      at.has_joined |= is_mine;
      joined_ += is_mine;
      return;
    }
    const std::string_view whole = line;
    line.remove_prefix(std::min<std::size_t>(line.size(), 1)); // "c7: 12 TIME words"
    const std::size_t sender = take_number(line);
    line.remove_prefix(std::min<std::size_t>(line.size(), 1));
    const std::size_t number = take_number(line);
    const std::uint64_t said_at = take_number(line);
    right_.clear();
    append_words(sender, number, right_);
    if (!whole.starts_with('c') || sender >= clients_.size() || sender % rooms_ != at.room ||
        line != std::string_view(right_).substr(1))
      fail(at, "a message that nobody has said: '%.*s'", static_cast<int>(whole.size()),
           whole.data());
    if (number != at.next[sender]++)
      fail(at, "message %zu of c%zu came when %zu was next", number, sender, at.next[sender] - 1);
    at.order = mix(at.order ^ mix(sender << 32 | number));
    at.returned += sender == at.number;
    checksum_ += mix(at.number ^ mix(sender << 32 | number));
    deliveries_.push_back(static_cast<std::uint32_t>((now - said_at) / 1000));
  }

  void report(double seconds) {
    for (const client& each : clients_)
      if (each.order != clients_[each.room].order)
        fail(each, "its messages came in another order than those of c%zu", each.room);
    std::printf("checksum %llu\n", static_cast<unsigned long long>(checksum_));
    const auto said = static_cast<double>(clients_.size() * messages_);
    std::printf("%.0f messages and %.0f deliveries a second\n", said / seconds,
                static_cast<double>(deliveries_.size()) / seconds);
    std::printf("metric message_us %.2f\n", seconds * 1e6 / said);
    std::sort(deliveries_.begin(), deliveries_.end());
    for (const auto& [name, part] :
         {std::pair("p50", 0.5), std::pair("p99", 0.99), std::pair("p99.9", 0.999)})
      std::printf("metric %s_us %u\n", name,
                  deliveries_[static_cast<std::size_t>(
                      part * static_cast<double>(deliveries_.size() - 1))]);
  }

  const std::size_t rooms_, messages_;
  std::vector<client> clients_;
  std::vector<pollfd> watched_;
  std::size_t joined_ = 0;
  std::string right_; // words
  std::uint64_t checksum_ = 0;
  std::vector<std::uint32_t> deliveries_; // microseconds
};

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  const auto option = [&](int i, int otherwise) {
    return i < count ? loopback::number_of(arguments[i]) : otherwise;
  };
  const int port = option(1, 7947), clients = option(2, 64), rooms = option(3, 4),
            messages = option(4, 1000);
  if (port < 1 || port > 65535 || clients < 1 || clients > 1000 || rooms < 1 || rooms > clients ||
      messages < 1 || count > 5) {
    std::fprintf(stderr, "usage: chat_load [port [clients, up to 1000 [rooms [messages]]]]\n");
    return 2;
  }
  load(port, static_cast<std::size_t>(clients), static_cast<std::size_t>(rooms),
       static_cast<std::size_t>(messages))
      .run();
}
