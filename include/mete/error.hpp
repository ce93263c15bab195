// What happens when an allocator cannot give memory, or finds that it is misused.
//
// Exhaustion is an ordinary event: try_allocate() returns nullptr and nothing else happens.
// allocate() tells the exhaustion handler, if there is one, and throws mete::out_of_memory, whose
// what() says which allocator ran out, of what, and how full it was. Where exceptions are disabled
// it prints that line and aborts, unless the handler does something else and does not return.
//
// Misuse is a bug of the caller that an allocator has noticed: a block that is freed twice, or
// that is not its own. Going on would overwrite somebody's memory, so the misuse handler is told,
// one line is printed, and the process aborts.
//
// Nothing here allocates. Thread safety: everything may be called from any thread; handlers may be
// called from any thread, several at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_ERROR_HPP
#define METE_ERROR_HPP

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace mete {

// A request that an allocator could not serve. All sizes in bytes.
struct exhaustion_report {
  const char* allocator;             // its name
  std::size_t size;                  // what was asked for
  std::size_t alignment;             //
  std::size_t used_bytes;            // in live blocks
  std::size_t reserved_bytes;        // held in all
  std::size_t largest_request_bytes; // so far, this one included; 0: all blocks have one size
};

// A caller's error. `what` names it ("double free"), `known` says what is known about the address.
struct misuse_report {
  const char* allocator;
  const char* what;
  const void* address;
  const char* known;
};

using exhaustion_handler = void (*)(const exhaustion_report&);
using misuse_handler = void (*)(const misuse_report&);

namespace detail {

inline constexpr std::size_t report_bytes = 320;

inline std::atomic<exhaustion_handler> on_exhaustion{nullptr};
inline std::atomic<misuse_handler> on_misuse{nullptr};

inline void describe(const exhaustion_report& report, char (&text)[report_bytes]) noexcept {
  const int length = std::snprintf(
      text, report_bytes, "mete: %s cannot give %zu bytes aligned to %zu: %zu of %zu bytes in use",
      report.allocator, report.size, report.alignment, report.used_bytes, report.reserved_bytes);
  if (report.largest_request_bytes != 0 && length > 0 &&
      static_cast<std::size_t>(length) < report_bytes)
    std::snprintf(text + length, report_bytes - static_cast<std::size_t>(length),
                  ", the largest request so far had %zu", report.largest_request_bytes);
}

} // namespace detail

// Sets the handler and returns the one before; nullptr: none. O(1).
inline exhaustion_handler set_exhaustion_handler(exhaustion_handler handler) noexcept {
  return detail::on_exhaustion.exchange(handler);
}
inline misuse_handler set_misuse_handler(misuse_handler handler) noexcept {
  return detail::on_misuse.exchange(handler);
}

// Thrown by allocate(). Holds its text itself.
class out_of_memory : public std::bad_alloc {
public:
  explicit out_of_memory(const exhaustion_report& report) noexcept : report_(report) {
    detail::describe(report, text_);
  }
  const char* what() const noexcept override { return text_; }
  const exhaustion_report& report() const noexcept { return report_; }

private:
  exhaustion_report report_;
  char text_[detail::report_bytes];
};

namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void exhausted(const exhaustion_report& report) {
  if (const exhaustion_handler handler = on_exhaustion.load(); handler != nullptr)
    handler(report);
#if defined(__cpp_exceptions)
  throw out_of_memory(report);
#else
  char text[report_bytes];
  describe(report, text);
  std::fprintf(stderr, "%s\n", text);
  std::abort();
#endif
}

[[noreturn, gnu::cold, gnu::noinline]] inline void misused(const misuse_report& report) noexcept {
  if (const misuse_handler handler = on_misuse.load(); handler != nullptr)
    handler(report);
  std::fprintf(stderr, "mete: %s: %s of %p: %s\n", report.allocator, report.what, report.address,
               report.known);
  std::abort();
}

} // namespace detail
} // namespace mete

#endif
