// The outbox: blocks that this thread freed and that belong to other heaps.
//
// They wait here because delivering one costs atomics on cache lines that another thread uses; by
// the dozen, blocks of one slab share them. Delivery goes slab by slab: one atomic for each stretch
// of blocks that share a word of the remote bitmap, and one for the slab's count
// (heap/remote_free.hpp).
//
// Thread safety: none; part of a heap.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/slab.hpp"

#include <cstddef>
#include <cstdint>

namespace mete::heap {

class outbox {
public:
  // True when it is time to deliver.
  [[nodiscard]] bool add(slab& s, void* block) {
    blocks_[count_++] = block;
    bytes_ += s.info().block_bytes;
    return count_ == capacity || bytes_ >= max_bytes;
  }

  // To every slab its blocks. O(n) in what it holds.
  void deliver();

  unsigned count() const { return count_; }

private:
  static constexpr unsigned capacity = 64;
  static constexpr std::size_t max_bytes = 128 * KiB; // big blocks don't wait by the megabyte

  unsigned count_ = 0;
  std::size_t bytes_ = 0;
  void* blocks_[capacity];
};

} // namespace mete::heap
