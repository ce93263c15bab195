// A snapshot of where the memory is, for mallinfo, malloc_info, stats_at_exit and the tests.
//
// Taken heap by heap, so the figures of a busy process do not add up to the byte. O(slabs).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::front {

struct statistics {
  std::size_t reserved_bytes = 0;  // address space of the regions
  std::size_t committed_bytes = 0; // of that, usable
  std::size_t dirty_bytes = 0;     // in free runs, not purged
  std::size_t free_run_bytes = 0;
  std::size_t metadata_bytes = 0;
  std::size_t slabs = 0;
  std::size_t slab_bytes = 0;
  std::size_t small_bytes = 0; // blocks handed out; those in thread caches count as such
  std::size_t slab_free_bytes = 0;
  std::size_t slab_purged_bytes = 0;
  std::size_t big_bytes = 0; // medium and large blocks
  std::size_t mapping_count = 0;
  std::size_t mapping_bytes = 0;
  unsigned heaps = 0;
  unsigned heaps_with_thread = 0;
  unsigned regions = 0;

  std::size_t live_bytes() const { return small_bytes + big_bytes + mapping_bytes; }
};

statistics take_statistics();

// On standard error.
void print_statistics();

// Walks everything and evaluates every invariant. REQUIRES: no other thread allocates.
void check_all_invariants();

} // namespace mete::front
