// A request of examples/http: how it is read, what is answered, and what memory that takes.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_HTTP_REQUEST_HPP
#define METE_EXAMPLES_HTTP_REQUEST_HPP

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <ctime>
#include <functional>
#include <map>
#include <memory_resource>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using text = std::pmr::string;
using fields = std::pmr::map<text, text, std::less<>>;

inline constexpr std::size_t max_header_bytes = 8192, max_body_bytes = 65536;

// All that it has comes from one resource.
struct request {
  explicit request(std::pmr::memory_resource* in)
      : method(in), path(in), headers(in), query(in), body(in), answer(in) {}

  std::string_view header(std::string_view name) const {
    const auto found = headers.find(name);
    return found != headers.end() ? std::string_view(found->second) : std::string_view();
  }
  std::size_t parameter(std::string_view name, std::size_t otherwise, std::size_t limit) const {
    if (const auto found = query.find(name); found != query.end())
      std::from_chars(found->second.data(), found->second.data() + found->second.size(), otherwise);
    return std::min(otherwise, limit);
  }

  text method, path;
  fields headers, query;      // names of headers in small letters
  std::size_t body_bytes = 0; // that are announced
  text body, answer;
  bool is_last = false; // of the connection
};

// Returns what stands before the separator, and removes both.
inline std::string_view cut(std::string_view& from, std::string_view separator) {
  const std::size_t at = std::min(from.find(separator), from.size());
  const std::string_view before = from.substr(0, at);
  from.remove_prefix(std::min(at + separator.size(), from.size()));
  return before;
}

inline void make_small(text& letters) {
  for (char& each : letters)
    if (each >= 'A' && each <= 'Z')
      each = static_cast<char>(each - 'A' + 'a');
}

// Appends what the form's %XX and + stand for. False: there is a % without two digits.
inline bool decode(std::string_view from, text& to) {
  while (!from.empty()) {
    const char first = from.front();
    from.remove_prefix(1);
    unsigned byte = 0;
    if (first == '%') {
      const char* const end = from.data() + std::min<std::size_t>(from.size(), 2);
      if (std::from_chars(from.data(), end, byte, 16).ptr != from.data() + 2)
        return false;
      from.remove_prefix(2);
    }
    to += first == '%' ? static_cast<char>(byte) : first == '+' ? ' ' : first;
  }
  return true;
}

// name=value&...; of a name that comes twice the last.
inline bool parse_form(std::string_view form, fields& to) {
  while (!form.empty()) {
    std::string_view value = cut(form, "&");
    text name(to.get_allocator()), decoded(to.get_allocator());
    if (!decode(cut(value, "="), name) || !decode(value, decoded))
      return false;
    to.insert_or_assign(std::move(name), std::move(decoded));
  }
  return true;
}

// The values of a name that comes twice are joined, but where only one may be.
inline bool parse_header(std::string_view line, fields& to) {
  const auto is_control = [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 127; };
  if (line.find(':') == line.npos || std::any_of(line.begin(), line.end(), is_control))
    return false;
  text name(cut(line, ":"), to.get_allocator());
  if (name.empty() || name.find_first_of(" \t\"(),/;<=>?@[\\]{}") != text::npos)
    return false;
  make_small(name);
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  line = line.substr(0, line.find_last_not_of(" \t") + 1);
  const auto [at, is_new] = to.try_emplace(std::move(name), line);
  if (!is_new)
    at->second.append(", ").append(line);
  return is_new || (at->first != "host" && at->first != "content-length");
}

// Reads all before the empty line. Returns 0, or the status with which it is refused.
inline int parse(std::string_view head, request& into) {
  std::string_view version = cut(head, "\r\n");
  into.method = cut(version, " ");
  std::string_view target = cut(version, " ");
  const bool is_newest = version == "HTTP/1.1";
  if (into.method.empty() || !target.starts_with('/') || (!is_newest && version != "HTTP/1.0"))
    return 400;
  into.path = cut(target, "?");
  if (!parse_form(target, into.query))
    return 400;
  while (!head.empty())
    if (!parse_header(cut(head, "\r\n"), into.headers))
      return 400;
  if (is_newest && !into.headers.contains("host"))
    return 400;
  if (into.headers.contains("transfer-encoding"))
    return 501;
  text connection(into.header("connection"), into.path.get_allocator());
  make_small(connection);
  into.is_last = is_newest ? connection == "close" : connection != "keep-alive";
  if (!into.headers.contains("content-length"))
    return 0;
  const std::string_view length = into.header("content-length");
  const char* const end = length.data() + length.size();
  const auto [stopped, error] = std::from_chars(length.data(), end, into.body_bytes);
  if (error == std::errc::invalid_argument || stopped != end)
    return 400;
  return error != std::errc() || into.body_bytes > max_body_bytes ? 413 : 0;
}

// Appends the pattern, with the values of the {names} in it, fit for HTML.
inline void fill(std::string_view pattern, const fields& values, text& to) {
  while (!pattern.empty()) {
    to += cut(pattern, "{");
    const auto found = values.find(cut(pattern, "}"));
    for (const char each : found != values.end() ? std::string_view(found->second) : "")
      if (each == '<' || each == '>' || each == '&' || each == '"')
        to.append("&#").append(std::to_string(each)).append(";");
      else
        to += each;
  }
}

// A row for each thing that can be bought: `count` of them, from the number `from` on.
inline void shop(const request& of, text& page) {
  static constexpr std::array things{"lamp", "table", "chair", "shelf", "clock"};
  static constexpr std::array materials{"oak", "brass & glass", "\"walnut\"", "wool"};
  const std::size_t first = of.parameter("from", 0, 1'000'000);
  const std::size_t behind = first + of.parameter("count", 20, 100);
  fields visitor(of.query, page.get_allocator());
  visitor.insert_or_assign(text("browser", page.get_allocator()), of.header("user-agent"));
  page.reserve(256 + (behind - first) * 256);
  fill("<!doctype html><title>Shop</title><p>Welcome, {name}, with your {browser}!<table>\n",
       visitor, page);
  for (std::size_t number = first; number < behind; ++number) {
    fields row(page.get_allocator());
    row.emplace("number", std::to_string(number));
    row.emplace("thing", things[number % things.size()]);
    row.emplace("material", materials[number % materials.size()]);
    row.emplace("price", std::to_string(10 + number * 7919 % 500));
    row.emplace("text", "Made by hand; ready to be sent within two days of your order");
    fill("<tr><td><a href=\"/things/{number}\">{thing}</a><td>{material}<td>{price}<td>{text}\n",
         row, page);
  }
  fill("</table>\n", visitor, page);
}

inline void quote(std::string_view value, text& to) {
  to += '"';
  for (const char each : value) {
    if (each >= 0 && each < ' ')
      to.append("\\u00").append({"01"[each / 16], "0123456789abcdef"[each % 16]});
    else if (each == '"' || each == '\\')
      to.append({'\\', each});
    else
      to += each;
  }
  to += '"';
}

// What was sent in the form and in the address, as a JSON object. Returns the status.
inline int show_form(const request& of, text& page) {
  fields form(of.query, page.get_allocator());
  if (!parse_form(of.body, form))
    return 400;
  for (const auto& [name, value] : form) {
    page += page.empty() ? '{' : ',';
    quote(name, page);
    page += ':';
    quote(value, page);
  }
  page += page.empty() ? "{}\n" : "}\n";
  return 200;
}

struct status_text {
  int status;
  std::string_view reason, remedy;
};
inline constexpr std::array statuses{
    status_text{200, "OK", ""},
    status_text{400, "Bad Request",
                "the request is not HTTP/1.1 with a Host, or a % lacks its digits"},
    status_text{404, "Not Found", "ask for / or /form"},
    status_text{405, "Method Not Allowed", "use GET or HEAD for /, POST for /form"},
    status_text{413, "Content Too Large", "the body may have 65536 bytes; send less"},
    status_text{431, "Request Header Fields Too Large",
                "all before the body may have 8192 bytes; send fewer or shorter headers"},
    status_text{501, "Not Implemented", "send a Content-Length instead of a Transfer-Encoding"},
};

// Makes the answer; `status` is that of parse().
inline void respond(request& to, int status) {
  text content(to.answer.get_allocator());
  if (status == 0) {
    status = 200;
    if (to.path == "/" && (to.method == "GET" || to.method == "HEAD"))
      shop(to, content);
    else if (to.path == "/form" && to.method == "POST")
      status = show_form(to, content);
    else
      status = to.path == "/" || to.path == "/form" ? 405 : 404;
  }
  const auto& known = *std::find_if(statuses.begin(), statuses.end(),
                                    [=](const status_text& each) { return each.status == status; });
  if (status != 200)
    content.append(known.reason).append(": ").append(known.remedy).append("\n");
  std::array<char, 32> date;
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  std::strftime(date.data(), date.size(), "%a, %d %b %Y %T GMT", gmtime_r(&now, &utc));
  to.answer.reserve(256 + content.size());
  to.answer.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(known.reason);
  to.answer.append("\r\nDate: ").append(date.data()).append("\r\nContent-Type: ");
  to.answer += status != 200 ? "text/plain" : to.path == "/" ? "text/html" : "application/json";
  to.answer.append("\r\nConnection: ").append(to.is_last ? "close" : "keep-alive");
  if (status == 405)
    to.answer.append("\r\nAllow: ").append(to.path == "/" ? "GET, HEAD" : "POST");
  to.answer.append("\r\nContent-Length: ").append(std::to_string(content.size()));
  to.answer.append("\r\n\r\n").append(to.method != "HEAD" ? std::string_view(content) : "");
}

#endif
