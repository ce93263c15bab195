// What AddressSanitizer and Valgrind are told about memory that an allocator divides.
//
// Always compiled in. Without AddressSanitizer and outside Valgrind each call costs at most one
// predictable branch: Valgrind's requests are a dozen instructions, so they are made only where
// the process was found to run under it. Where Valgrind's header is not installed, there is nothing
// to ask with, and the calls vanish.
//
// An allocator calls unusable() for memory that it takes from its source or gets back, usable()
// for a block that it hands out, and own() before it reads or writes links of its own inside memory
// that it had declared unusable.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_ANNOTATE_HPP
#define METE_DETAIL_ANNOTATE_HPP

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#  define METE_DETAIL_ASAN 1
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer)
#    define METE_DETAIL_ASAN 1
#  endif
#endif
#if defined(METE_DETAIL_ASAN)
#  include <sanitizer/asan_interface.h>
#elif __has_include(<valgrind/memcheck.h>)
#  define METE_DETAIL_VALGRIND 1
#  include <valgrind/memcheck.h>
#endif

namespace mete::detail {

#if defined(METE_DETAIL_VALGRIND)
inline bool ask_for_valgrind() noexcept {
  return RUNNING_ON_VALGRIND != 0;
}
inline const bool under_valgrind = ask_for_valgrind();

// Out of line: a request needs room on the stack, which a hot path should not make. Not cold: GCC
// would take all that leads there for cold too, which is the hot path itself. Not of pointers: GCC
// would warn of memory that has no value yet.
[[gnu::noinline]] inline void tell_unusable(std::uintptr_t begin, std::size_t bytes) noexcept {
  (void)VALGRIND_MAKE_MEM_NOACCESS(begin, bytes);
}
[[gnu::noinline]] inline void tell_usable(std::uintptr_t begin, std::size_t bytes) noexcept {
  (void)VALGRIND_MAKE_MEM_UNDEFINED(begin, bytes);
}
[[gnu::noinline]] inline void tell_own(std::uintptr_t begin, std::size_t bytes) noexcept {
  (void)VALGRIND_MAKE_MEM_DEFINED(begin, bytes);
}
#endif

// Whether anybody listens: work that only serves the calls below can be left out otherwise.
inline bool annotating() noexcept {
#if defined(METE_DETAIL_ASAN)
  return true;
#elif defined(METE_DETAIL_VALGRIND)
  return under_valgrind;
#else
  return false;
#endif
}

// Nobody may touch it.
inline void unusable([[maybe_unused]] const void* begin,
                     [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(METE_DETAIL_ASAN)
  ASAN_POISON_MEMORY_REGION(begin, bytes);
#elif defined(METE_DETAIL_VALGRIND)
  if (under_valgrind) [[unlikely]]
    tell_unusable(reinterpret_cast<std::uintptr_t>(begin), bytes);
#endif
}

// Anybody may write it; what is in it has no meaning yet.
inline void usable([[maybe_unused]] const void* begin,
                   [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(METE_DETAIL_ASAN)
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
#elif defined(METE_DETAIL_VALGRIND)
  if (under_valgrind) [[unlikely]]
    tell_usable(reinterpret_cast<std::uintptr_t>(begin), bytes);
#endif
}

// The allocator's own: what is in it has a meaning.
inline void own([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(METE_DETAIL_ASAN)
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
#elif defined(METE_DETAIL_VALGRIND)
  if (under_valgrind) [[unlikely]]
    tell_own(reinterpret_cast<std::uintptr_t>(begin), bytes);
#endif
}

// Words of an allocator's own that lie between or inside blocks and stay declared unusable for
// everybody else: boundary tags and links. AddressSanitizer does not look at these two accesses;
// around them in Valgrind there must be an `unreported`.
template <class T>
[[gnu::no_sanitize_address]] inline T load_own(const std::byte* at) noexcept {
  return *reinterpret_cast<const T*>(at);
}
template <class T>
[[gnu::no_sanitize_address]] inline void store_own(std::byte* at, T value) noexcept {
  *reinterpret_cast<T*>(at) = value;
}

// While one lives, Valgrind reports nothing of this thread. They nest.
class [[nodiscard]] unreported {
public:
  unreported() noexcept {
#if defined(METE_DETAIL_VALGRIND)
    VALGRIND_DISABLE_ERROR_REPORTING;
#endif
  }
  unreported(const unreported&) = delete;
  unreported& operator=(const unreported&) = delete;
  ~unreported() {
#if defined(METE_DETAIL_VALGRIND)
    VALGRIND_ENABLE_ERROR_REPORTING;
#endif
  }
};

} // namespace mete::detail

#endif
