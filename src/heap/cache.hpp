// Filling, emptying and sizing a thread's cache (heap/thread_cache.hpp) from its heap.
//
// A class's array starts small, doubles when it keeps missing, up to what the class and the
// thread's budget allow, and is halved again when it is idle. A refill takes half an array, so that
// as much room is left for frees; a flush returns the older half, because the younger is warm. A
// class that keeps missing takes from idle ones what they have grown by.
//
// REQUIRES, all of them: the calling thread owns the heap and is inside its lock.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"
#include "heap/thread_cache.hpp"

namespace mete::heap {

// A block of the class, refilling the cache on the way; nullptr if memory is out.
void* refill(heap& h, thread_state& thread, unsigned class_index);

// A block of the class that came back and found no room in the cache.
void overflow(heap& h, thread_state& thread, unsigned class_index, void* block);

// A block for calloc: `zeroed` if it reads as zero. Fresh blocks are taken one by one, so that
// what is known about them is not lost in the cache.
void* take_for_calloc(heap& h, thread_state& thread, unsigned class_index, bool& zeroed);

// Halves the arrays that did not miss since the last call. O(classes + blocks returned).
void shrink_idle(heap& h, thread_state& thread);

// Everything goes back to the slabs; the arrays are given up.
void empty_cache(heap& h, thread_state& thread);

// At the thread's end: everything goes back to the slabs, but arrays that have not grown far stay
// with the heap, for the next thread that adopts it.
void leave_cache(heap& h, thread_state& thread);
void adopt_cache(heap& h, thread_state& thread);

} // namespace mete::heap
