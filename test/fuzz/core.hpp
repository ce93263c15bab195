// The calls of mete's core that are replayed, in one place.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "front/allocate.hpp"

#include <mete/mete.h>

#include <cstddef>

namespace fuzz::core {

inline void* allocate(std::size_t size) {
  return mete::front::allocate(size);
}
inline void* allocate_zeroed(std::size_t size) {
  return mete::front::allocate_zeroed(size);
}
inline void* allocate_aligned(std::size_t alignment, std::size_t size) {
  return mete::front::allocate_aligned(alignment, size);
}
inline void* reallocate(void* block, std::size_t size) {
  return mete::front::reallocate(block, size);
}
inline void deallocate(void* block) {
  mete::front::deallocate(block);
}
inline std::size_t usable_size(const void* block) {
  return mete::front::usable_size(block);
}
inline void collect() {
  mete_collect();
}

} // namespace fuzz::core
