// SPDX-License-Identifier: MIT
#include "base/check.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace mete {

message& message::append(const char* text, std::size_t length) {
  const std::size_t room = capacity - 1 - length_; // one byte stays for the newline
  const std::size_t taken = length < room ? length : room;
  std::memcpy(buffer_ + length_, text, taken);
  length_ += taken;
  return *this;
}

message& message::operator<<(const char* text) {
  return append(text, std::strlen(text));
}

message& message::operator<<(std::size_t number) {
  char digits[20];
  std::size_t used = 0;
  do {
    digits[sizeof digits - ++used] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  return append(digits + sizeof digits - used, used);
}

message& message::operator<<(long long number) {
  if (number >= 0)
    return *this << static_cast<std::size_t>(number);
  return *this << "-" << (~static_cast<std::size_t>(number) + 1);
}

message& message::operator<<(const void* address) {
  auto value = reinterpret_cast<std::uintptr_t>(address);
  char digits[16];
  std::size_t used = 0;
  do {
    digits[sizeof digits - ++used] = "0123456789abcdef"[value % 16];
    value /= 16;
  } while (value != 0);
  append("0x", 2);
  return append(digits + sizeof digits - used, used);
}

void message::print() const {
  const int saved_errno = errno;
  char line[capacity];
  std::memcpy(line, buffer_, length_);
  line[length_] = '\n';
  std::size_t written = 0;
  while (written <= length_) {
    const ssize_t step = ::write(STDERR_FILENO, line + written, length_ + 1 - written);
    if (step < 0 && errno == EINTR)
      continue;
    if (step <= 0)
      break;
    written += static_cast<std::size_t>(step);
  }
  errno = saved_errno;
}

void die(const message& line) {
  line.print();
  std::abort();
}

void misuse(const char* what, const void* address, const message& known) {
  message line;
  line << what << " of " << address << ": ";
  line.append(known.data(), known.length());
  line << " (see docs/debugging.md)";
  die(line);
}

void misuse(const char* what, const void* address, const char* known) {
  message text{message::empty_tag{}};
  text << known;
  misuse(what, address, text);
}

void check_failed(const char* expression, const char* file, int line) {
  message text;
  text << "internal check failed: " << expression << " at " << file << ":" << line
       << "; the process's memory may have been overwritten, or this is a bug in mete";
  die(text);
}

} // namespace mete
