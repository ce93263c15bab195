// SPDX-License-Identifier: MIT
#include "cli/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <unistd.h>

namespace mete::cli {
namespace {

// Of the text of /proc/PID/stat; the name before it, in parentheses, may hold anything. 0: none.
pid_t parent_in(const std::string& stat) {
  const std::size_t name_end = stat.rfind(") ");
  // ") S 123": the state is one letter.
  return name_end == stat.npos || name_end + 4 >= stat.size()
             ? 0
             : static_cast<pid_t>(std::strtol(stat.c_str() + name_end + 4, nullptr, 10));
}

} // namespace

descriptor& descriptor::operator=(descriptor&& other) noexcept {
  if (this != &other) {
    close();
    m_number = std::exchange(other.m_number, -1);
  }
  return *this;
}

void descriptor::close() {
  if (m_number >= 0)
    ::close(m_number);
  m_number = -1;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts)
    pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count > 0)
      text.append(buffer.data(), static_cast<std::size_t>(count));
    else if (count == 0 || errno != EINTR)
      return text;
  }
}

std::string text_of_file(const std::string& path) {
  const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return read_all(file.number());
}

std::string quoted_for_shell(const std::vector<std::string>& words) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_^";
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty())
      line += ' ';
    if (!word.empty() && word.find_first_not_of(plain) == word.npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char each : word)
      line += each == '\'' ? std::string(R"('\'')") : std::string(1, each);
    line += '\'';
  }
  return line;
}

std::vector<pid_t> descendants_of(pid_t ancestor) {
  std::multimap<pid_t, pid_t> children;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error))
    if (const pid_t process = std::atoi(entry.path().filename().c_str()); process > 0)
      children.emplace(parent_in(text_of_file(entry.path() / "stat")), process);
  std::vector<pid_t> found{ancestor};
  for (std::size_t at = 0; at < found.size(); ++at) {
    const auto [begin, end] = children.equal_range(found[at]);
    std::for_each(begin, end, [&](const auto& each) { found.push_back(each.second); });
  }
  found.erase(found.begin());
  return found;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::optional<std::uint64_t> leading_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::uint64_t number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc())
    return std::nullopt;
  return number;
}

std::optional<std::uint64_t> number_behind(std::string_view text, std::string_view name) {
  for (const std::string_view line : lines_of(text))
    if (line.starts_with(name))
      return leading_number(line.substr(name.size()));
  return std::nullopt;
}

} // namespace mete::cli
