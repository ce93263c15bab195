// Where a call stands in the source. Debugging allocators ask for it, and the wrappers around them
// pass it on.
//
// It is std::source_location in small, which Clang 14 does not have.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_CALL_SITE_HPP
#define METE_DETAIL_CALL_SITE_HPP

#include <cstddef>

namespace mete {

struct call_site {
  const char* file;
  const char* function;
  unsigned line;

  // As a default argument: the place of the call.
  static constexpr call_site current(const char* file = __builtin_FILE(),
                                     const char* function = __builtin_FUNCTION(),
                                     unsigned line = __builtin_LINE()) noexcept {
    return {file, function, line};
  }
};

namespace detail {

// To allocators that do not ask for the place it is not told.
template <class A>
void* try_allocate_at(A& in, std::size_t size, std::size_t alignment,
                      const call_site& where) noexcept {
  if constexpr (requires { in.try_allocate(size, alignment, where); })
    return in.try_allocate(size, alignment, where);
  else
    return in.try_allocate(size, alignment);
}

template <class A>
void deallocate_at(A& in, void* block, std::size_t size, std::size_t alignment,
                   const call_site& where) noexcept {
  if constexpr (requires { in.deallocate(block, size, alignment, where); })
    in.deallocate(block, size, alignment, where);
  else
    in.deallocate(block, size, alignment);
}

} // namespace detail
} // namespace mete

#endif
