// http: an HTTP/1.1 server in which the memory of a request ends at once, with its arena.
//
//   http [--malloc] [port [threads]]
//
// It answers with a page that shows what was asked. Headers, parameters, form and page lie in an
// arena, which starts anew when the answer is sent. --malloc: the same on operator new.
//
// SPDX-License-Identifier: MIT

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <mete/adapt.hpp>
#include <mete/connection_memory.hpp>

#include "../support/event_loop.hpp"
#include "../support/loopback.hpp"
#include "../support/plain_memory.hpp"

namespace {

using text = std::pmr::string;
using fields = std::pmr::map<text, text, std::less<>>;
constexpr std::size_t buffer_bytes = 16384; // for input: a head fits into it, or a body

struct request {
  std::pmr::memory_resource* const in;
  text method{in}, path{in};
  fields headers{in}, form{in}; // the form: what address and body say
  std::size_t body_bytes = 0;   // announced
  text answer{in};
};

// What a connection has while it does not wait: an arena for its request, and a buffer for input.
struct toolkit {
  explicit toolkit(mete::connection_memory& all)
      : arena(all.open()), buffer(all.try_take_buffer()) {
    if (!buffer)
      throw std::bad_alloc();
  }
  char* input() { return reinterpret_cast<char*>(buffer.bytes().data()); }
  void begin() { now = new (arena->allocate(sizeof(request))) request{&in_arena}; }
  void end() { // runs no destructor: all that it would free lies in the arena
    now = nullptr;
    arena->end_request();
  }

  mete::box<mete::connection> arena;
  mete::resource_ref<mete::arena> in_arena{*arena};
  mete::connection_buffer buffer;
  request* now = nullptr;
};

struct heap {
  explicit heap(mete::connection_memory&) {}
  char* input() { return buffer.get(); }
  void begin() { now.reset(new request{plain_memory::get()}); }
  void end() { now = nullptr; }

  std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(buffer_bytes);
  std::unique_ptr<request> now;
};

// Thrown: a connection's last answer, whole.
struct refusal : std::string_view {};
constexpr refusal bad_request{
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
    "Send METHOD /PATH HTTP/1.1, a Host, headers once, %XX, no chunks.\n"};
constexpr refusal no_memory{"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n"
                            "No memory is left: send it again later.\n"};

// Returns what stands before the separator, and removes both.
std::string_view cut(std::string_view& from, std::string_view separator) {
  const std::string_view before = from.substr(0, from.find(separator));
  from.remove_prefix(std::min(before.size() + separator.size(), from.size()));
  return before;
}

// With what its %XX and + stand for.
text decoded(std::string_view from, text::allocator_type in) {
  text to(in);
  for (; !from.empty(); from.remove_prefix(1)) {
    unsigned byte = static_cast<unsigned char>(from[0] == '+' ? ' ' : from[0]);
    if (byte == '%') {
      const std::string_view xx = from.substr(1, 2);
      if (xx.size() < 2 || std::from_chars(xx.begin(), xx.end(), byte, 16).ptr != xx.end())
        throw bad_request;
      from.remove_prefix(2);
    }
    to += static_cast<char>(byte);
  }
  return to;
}

// NAME=VALUE&...; of a name that comes twice, the last.
void read_form(std::string_view form, fields& to) {
  while (!form.empty()) {
    std::string_view value = cut(form, "&");
    text name = decoded(cut(value, "="), to.get_allocator());
    to.insert_or_assign(std::move(name), decoded(value, to.get_allocator()));
  }
}

// METHOD /PATH?FORM HTTP/1.1, then lines of NAME: VALUE.
void read_head(std::string_view head, request& to) {
  std::string_view version = cut(head, "\r\n");
  to.method = cut(version, " ");
  std::string_view target = cut(version, " ");
  if (to.method.empty() || !target.starts_with('/') || version != "HTTP/1.1")
    throw bad_request;
  to.path = decoded(cut(target, "?"), to.in);
  read_form(target, to.form);
  while (!head.empty()) {
    std::string_view value = cut(head, "\r\n");
    text name(value.substr(0, value.find_first_of(": \t")), to.in);
    if (name.empty() || value.find(':') != name.size() ||
        value.find_first_of("\r\n\0", 0, 3) != value.npos)
      throw bad_request;
    for (char& each : name)
      each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    value.remove_prefix(std::min(value.find_first_not_of(" \t", name.size() + 1), value.size()));
    value = value.substr(0, value.find_last_not_of(" \t") + 1);
    if (!to.headers.try_emplace(std::move(name), value).second)
      throw bad_request;
  }
  to.headers.emplace("connection", "keep-alive"); // if nothing is said
  const std::string_view length = to.headers.emplace("content-length", "0").first->second;
  const auto [end, error] = std::from_chars(length.begin(), length.end(), to.body_bytes);
  if (end != length.end() || error == std::errc::invalid_argument || !to.headers.contains("host") ||
      to.headers.contains("transfer-encoding"))
    throw bad_request;
  if (error != std::errc() || to.body_bytes > buffer_bytes)
    throw refusal{"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\nSend 16 KiB.\n"};
}

// Appends the pattern with the values for each {} in it, fit for HTML.
void fill(text& to, std::string_view pattern, std::initializer_list<std::string_view> values) {
  for (const std::string_view value : values) {
    to += cut(pattern, "{}");
    for (const char each : value)
      each == '<' ? to += "&lt;" : each == '&' ? to += "&amp;" : to += each;
  }
  to += pattern;
}

std::string_view write_answer(request& to, bool is_last) {
  text page(to.in);
  fill(page, "<!doctype html><meta charset=utf-8><title>{}</title>\n", {to.path});
  for (const fields* const each : {&to.headers, &to.form})
    for (const auto& [name, value] : *each)
      fill(page, "<p>{}: {}\n", {name, value});
  to.answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
  fill(to.answer, "Content-Length: {}\r\nConnection: {}\r\n\r\n",
       {std::to_string(page.size()), is_last ? "close" : "keep-alive"});
  return to.answer.append(page, 0, to.method == "HEAD" ? 0 : page.size());
}

template <class Memory>
struct connection { // for loopback::event_loop
  connection(int from, mete::connection_memory& with) : socket(from), all(with) {}
  ~connection() { close(socket); }

  loopback::next step(bool is_ending) {
    try {
      if (unsent.empty() && (is_over || !memory || !answer_next(is_ending)))
        return receive();
    } catch (const refusal& why) {
      unsent = why;
      is_over = true;
    } catch (const std::bad_alloc&) {
      unsent = no_memory;
      is_over = true;
    }
    const ssize_t sent = send(socket, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    unsent.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    if (unsent.empty())
      is_over ? memory.reset() : memory->end();
    return loopback::next_after(sent);
  }
  bool is_idle() const { return !memory && !is_over; }

  loopback::next receive() {
    if (is_over) { // closed with bytes unread, a connection is reset, and the answer lost
      shutdown(socket, SHUT_WR);
      return loopback::next_after(recv(socket, nullptr, buffer_bytes, MSG_TRUNC));
    }
    char* const input = (memory ? *memory : memory.emplace(all)).input(); // no whole request yet
    std::copy(unread.begin(), unread.end(), input);
    const ssize_t got = recv(socket, input + unread.size(), buffer_bytes - unread.size(), 0);
    const loopback::next after = loopback::next_after(got);
    unread = {input, unread.size() + static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
    if (unread.empty() && !memory->now)
      memory.reset();
    return after;
  }

  // Goes on with a request, or begins one. False: more of it has to come.
  bool answer_next(bool is_ending) {
    if (!memory->now) {
      const std::size_t end = unread.find("\r\n\r\n");
      if (end == unread.npos && unread.size() < buffer_bytes)
        return false;
      memory->begin();
      if (end == unread.npos)
        throw refusal{"HTTP/1.1 431 Head Too Large\r\nConnection: close\r\n\r\nSend 16 KiB.\n"};
      read_head(unread.substr(0, end + 2), *memory->now);
      unread.remove_prefix(end + 4);
    }
    request& now = *memory->now;
    if (unread.size() < now.body_bytes)
      return false;
    read_form(unread.substr(0, now.body_bytes), now.form);
    unread.remove_prefix(now.body_bytes);
    is_over = is_ending || now.headers.at("connection").find("lose") != unread.npos;
    unsent = write_answer(now, is_over);
    return true;
  }

  const int socket;
  mete::connection_memory& all;
  std::optional<Memory> memory;
  std::string_view unread, unsent; // of the input, of the answer
  bool is_over = false;            // with what is unsent
};

template <class Memory>
void serve(int epoll, int listener, int signals) {
  mete::connection_memory all(
      {.name = "http", .buffer_bytes = buffer_bytes, .limit_bytes = std::size_t{256} << 20});
  loopback::serve<connection<Memory>>(epoll, listener, signals, all, no_memory);
  std::printf("http: %zu buffers left, peak %zu bytes\n", all.buffers(), all.usage().peak_bytes);
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory at the start ends it
int main(int count, char** given) {
  const loopback::arguments with = loopback::arguments_of("http", count, given, 7946, 256);
  const int signals = loopback::ending_signals(), listener = loopback::listen_on("http", with.port);
  loopback::on_threads(with.threads, [&](int epoll) {
    with.on_malloc ? serve<heap>(epoll, listener, signals)
                   : serve<toolkit>(epoll, listener, signals);
  });
}
