// The metadata arena: memory for descriptors, heaps and the arrays of thread caches.
//
// Bump allocation out of chunks, which lie between guards behind a region's tables, and a free list
// per size in steps of a cache line. What is freed is reused for the same size only and never given
// back: descriptors stay readable for whoever still holds a pointer to one (page/region.hpp), and
// the total is bounded by the peak, under 2 % of it.
//
// Thread safety: all functions may be called by any thread. Errors: nullptr when memory is out.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::page {

inline constexpr std::size_t metadata_max_bytes = 32 * 1024;

// Zeroed memory, aligned to a cache line. REQUIRES: 0 < bytes <= metadata_max_bytes. O(1).
void* allocate_metadata(std::size_t bytes);

// REQUIRES: `bytes` as it was allocated with. O(1).
void release_metadata(void* memory, std::size_t bytes);

struct metadata_usage {
  std::size_t mapped_bytes;
  std::size_t used_bytes;
};
metadata_usage metadata_in_use();

// In the child of a fork: true if another thread held the lock (base/lock.hpp, reset_in_child()).
bool reset_metadata_lock_in_child();

} // namespace mete::page
