// The mark of a freed block: a word that means nothing to anybody else, in the second word of every
// block of a slab that was handed out and is free again.
//
// free() looks for it and writes it, malloc() removes it. So a second free of the same block finds
// the mark at once, however much later it comes, and so do realloc() and malloc_usable_size().
// A block in which the program itself left those bytes (it may copy memory that it never wrote)
// looks the same; so a mark is only a suspicion. It is settled by what the allocator knows
// elsewhere (heap/suspect.hpp), and nothing else depends on what stands in a block.
//
// Invariant: a block below its slab's frontier that is neither live nor on a purged page, and was
// handed out in this life of the slab, bears the mark. A purged page has lost its marks; therefore
// the units of slabs that have such pages are tagged `purged`, which no fast path accepts.
//
// The idea is glibc's, which keeps a key in freed chunks (sourceware bug 23907, "tcache double free
// check", 2018).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "page/region.hpp"

#include <cstdint>

namespace mete::heap {

// The negative address of the first region: what free() has at hand. It differs from process to
// process, and whoever sees it learns no more than from any block's address.
inline std::uintptr_t freed_mark() {
  return page::primary.minus_base.load(std::memory_order_relaxed);
}

inline std::uintptr_t& second_word(void* block) {
  return static_cast<std::uintptr_t*>(block)[1];
}

// The mark will be read and written. A block that another thread used lies in its processor's
// cache, whence it should come once, for writing, not a second time after reading. Any address will
// do.
inline void prefetch_mark(const void* block) {
#if defined(__x86_64__)
  asm volatile("prefetchw 8(%0)" : : "r"(block)); // nothing happens where a processor lacks it
#else
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(block) + 8), 1);
#endif
}

// `mark`: for a caller that has it at hand.
inline bool is_marked_freed(const void* block, std::uintptr_t mark = freed_mark()) {
  return static_cast<const std::uintptr_t*>(block)[1] == mark;
}
inline void mark_freed(void* block, std::uintptr_t mark = freed_mark()) {
  second_word(block) = mark;
}
// Returns the block, which may be null.
inline void* remove_mark(void* block) {
  if (block != nullptr) [[likely]]
    second_word(block) = 0;
  return block;
}

} // namespace mete::heap
