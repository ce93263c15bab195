// Checks in three tiers, and the one way in which this library reports a fatal error.
//
//   METE_CHECK        always evaluated: cheap, on paths that are slow anyway
//   METE_DEBUG_CHECK  evaluated in builds with METE_DEBUG_CHECKS (preset `debug`)
//   misuse(...)       a caller's error that was detected: one line on standard error, then abort
//
// Nothing here allocates: a report is written from a buffer on the stack with one write(2), because
// the heap may be what is broken.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace mete {

// One line of text, built without allocating; what does not fit is cut.
class message {
public:
  message() { *this << "mete: "; }
  struct empty_tag {};
  explicit message(empty_tag) {}

  message& operator<<(const char* text);
  message& operator<<(char*) = delete; // the address of a block, or a text? Cast to say which.
  message& operator<<(std::size_t number);
  message& operator<<(long long number);
  message& operator<<(int number) { return *this << static_cast<long long>(number); }
  message& operator<<(unsigned number) { return *this << std::size_t{number}; }
  message& operator<<(const void* address);
  message& append(const char* text, std::size_t length);

  const char* text() {
    buffer_[length_] = '\0';
    return buffer_;
  }
  const char* data() const { return buffer_; } // without an end
  std::size_t length() const { return length_; }

  // Writes the line and a newline to standard error, preserving errno.
  void print() const;

private:
  static constexpr std::size_t capacity = 512;
  char buffer_[capacity];
  std::size_t length_ = 0;
};

// Prints `line` and aborts.
[[noreturn, gnu::cold]] void die(const message& line);

// The caller did what no allocator can allow: `what` at `address`; `known` says what is known about
// the block there. Never returns.
[[noreturn, gnu::cold]] void misuse(const char* what, const void* address, const message& known);
[[noreturn, gnu::cold]] void misuse(const char* what, const void* address, const char* known);

[[noreturn, gnu::cold]] void check_failed(const char* expression, const char* file, int line);

} // namespace mete

#define METE_CHECK(condition)                                                                      \
  (__builtin_expect(!!(condition), 1) ? void(0)                                                    \
                                      : ::mete::check_failed(#condition, __FILE__, __LINE__))

#if defined(METE_DEBUG_CHECKS)
#  define METE_DEBUG_CHECK(condition) METE_CHECK(condition)
#else
#  define METE_DEBUG_CHECK(condition) void(0)
#endif
