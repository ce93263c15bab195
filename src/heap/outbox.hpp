// The outbox: blocks that this thread freed and that belong to other heaps.
//
// They wait here because delivering one costs atomics on cache lines that another thread uses; by
// the dozen, blocks of one slab share them. Delivery gathers the bits of each word of a slab's
// remote bitmap: one atomic for each, and one for the slab's count (heap/remote_free.hpp). All that
// is left for then, not done block by block: a free that does little lets the processor run ahead,
// to the program's misses on the next blocks, which another thread has written.
//
// Thread safety: none; part of a heap.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/check.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace mete::heap {

class outbox {
public:
  // True now and then, and always if it is_full() now. REQUIRES: it was not before.
  [[nodiscard]] bool add(void* block, std::size_t block_bytes) {
    METE_DEBUG_CHECK(!is_full());
    blocks_[count_++] = block;
    bytes_ += block_bytes;
    return count_ % blocks_per_look == 0 || bytes_ >= max_bytes;
  }
  // It is time to deliver.
  bool is_full() const { return count_ == capacity || bytes_ >= max_bytes; }

  // To every slab its blocks. O(n) in what it holds.
  void deliver();

  unsigned count() const { return count_; }
  std::size_t bytes() const { return bytes_; }
  bool contains(const void* block) const {
    return std::find(blocks_, blocks_ + count_, block) != blocks_ + count_;
  }

private:
  static constexpr unsigned capacity = 256;
  static constexpr unsigned blocks_per_look = 64;
  static_assert(capacity % blocks_per_look == 0);
  static constexpr std::size_t max_bytes = 64 * KiB; // big blocks don't wait by the megabyte

  unsigned count_ = 0;
  std::size_t bytes_ = 0;
  void* blocks_[capacity];
};

} // namespace mete::heap
