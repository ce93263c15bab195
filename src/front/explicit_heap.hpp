// Explicit heaps (mete_heap in mete.h): allocate in one, destroy everything in it at once.
//
// One is a heap without a thread or a cache, serialised by a lock. Its big blocks do not lie in its
// slabs, so each has a keeper, a record on the heap's list.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "page/region.hpp"

struct mete_heap;

namespace mete::front {

// The explicit heap that a live block belongs to; nullptr if it is in none: of a block in a slab,
// by the tag of its unit, and of a big block. O(1), and a few instructions for blocks that are in
// none.
mete_heap* home_of_small(std::uint32_t tag);
mete_heap* home_of_big(const void* block, const page::location& where);

// A new block of `home` of at least `size` bytes; nullptr with ENOMEM if memory is out.
void* allocate_in(mete_heap& home, std::size_t size);

// A big block of an explicit heap is at `moved` now: the heap remembers that.
void note_moved_big(void* moved);

// If the big block at `block` is an explicit heap's, takes it off that heap's list. Called before
// any big block is freed.
void forget_big(void* block, const page::location& where);

} // namespace mete::front
