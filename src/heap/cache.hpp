// Filling, emptying and sizing a thread's cache (heap/thread_cache.hpp) from its heap.
//
// A class's array starts small, doubles when it keeps missing, up to what the class and the
// thread's budget allow, and is halved again when it is idle. A refill takes half an array, so that
// as much room is left for frees; a flush returns the older half, because the younger is warm. A
// class that keeps missing takes from idle ones what they have grown by.
//
// A processor's cache (heap/cpu_cache.hpp) is filled and emptied by the same functions.
//
// REQUIRES, all of them: the calling thread owns the heap and is inside its lock, or holds it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"
#include "heap/thread_cache.hpp"

namespace mete::heap {

// Blocks that are smaller go home: their neighbours on the cache line are another thread's.
inline constexpr unsigned first_kept_class = class_of(cache_line_bytes);

// A block of the class, refilling the cache on the way; nullptr if memory is out.
void* refill(heap& h, thread_state& thread, unsigned class_index);

// A block of the class that came back and found no room in the cache.
void overflow(heap& h, thread_state& thread, unsigned class_index, void* block);

// A block for calloc: `zeroed` if it reads as zero. Fresh blocks are taken one by one, so that
// what is known about them is not lost in the cache.
void* take_for_calloc(heap& h, thread_state& thread, unsigned class_index, bool& zeroed);

// Puts a foreign block where the next one of its class will be taken from, if this thread uses the
// class and has fewer than a refill brings. It still belongs to its owner, and goes home by a
// flush. REQUIRES: only that the thread owns the heap, whose lock is not needed; the block is not a
// shared heap's, because it could outlive an explicit heap that is destroyed.
inline bool keep_foreign(const heap& h, thread_state& thread, std::uint32_t tag, void* block) {
  METE_DEBUG_CHECK((tag & tag_shared) == 0);
  const unsigned class_index = class_of_tag(tag);
  cache_bin& bin = thread.bins[class_index];
  const cache_array& array = h.classes[class_index].cache;
  if (static_cast<std::size_t>(bin.top - array.slots) >= array.kept) // 0 where there is no array
    return false;
  *++bin.top = block;
  return true;
}

// Halves the arrays that did not miss since the last call. O(classes + blocks returned).
void shrink_idle(heap& h, thread_state& thread);

// The heap shrinks: everything goes back to the slabs, and arrays start over, at half their first
// size.
void shed_cache(heap& h, thread_state& thread);

// Everything goes back to the slabs; the arrays are given up.
void empty_cache(heap& h, thread_state& thread);

// At the thread's end: everything goes back to the slabs, but arrays that have not grown far stay
// with the heap, for the next thread that adopts it.
void leave_cache(heap& h, thread_state& thread);
void adopt_cache(heap& h, thread_state& thread);

} // namespace mete::heap
