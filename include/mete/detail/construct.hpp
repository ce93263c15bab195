// Objects in memory that an allocator gave.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_CONSTRUCT_HPP
#define METE_DETAIL_CONSTRUCT_HPP

#include <new>
#include <type_traits>
#include <utility>

namespace mete::detail {

// T(arguments...), or T{arguments...} where it is an aggregate: Clang builds those by parentheses
// from version 16 on only.
template <class T, class... Arguments>
T* construct(void* memory, Arguments&&... arguments) {
  if constexpr (std::is_aggregate_v<T> && !std::is_constructible_v<T, Arguments...>)
    return ::new (memory) T{std::forward<Arguments>(arguments)...};
  else
    return ::new (memory) T(std::forward<Arguments>(arguments)...);
}

} // namespace mete::detail

#endif
