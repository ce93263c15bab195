// The registry: which heaps exist, and which have no thread.
//
// A heap outlives its thread. The next new thread adopts it whole, last abandoned first; until then
// other heaps may take over its partly used slabs instead of asking for fresh memory. So ten
// thousand short threads use as much memory as the most that lived at once.
//
// A processor's heap (heap/cpu_cache.hpp) is never abandoned.
//
// Heaps are never destroyed, except explicit ones; the memory of any is kept: a late push may still
// look at a pending list, and a decay round at a heap that has just been destroyed. That heap is
// empty then, or in its next life, in which it is a shared one again; so its mutex is what it was.
//
// Thread safety: all functions take the registry lock themselves.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"

namespace mete::heap {

struct cpu_cache;

inline constexpr unsigned max_heaps = 1 << 16; // threads at one time, and explicit heaps

// A heap for the thread: adopted, or new. nullptr if memory is out or there are max_heaps.
heap* acquire_heap(thread_state* thread);

// The thread's heap is free for others. REQUIRES: the caller is its owner and outside of its lock.
void abandon_heap(heap& h);

// A heap without a thread, used under a mutex of its own, never adopted or taken over; a destroyed
// one where there is one. nullptr if memory is out or there are max_heaps.
heap* create_shared_heap();
// REQUIRES: release_everything() was called, and the caller does not hold it.
void destroy_shared_heap(heap& h);
// The shared heap whose slabs have this tag; nullptr if it was destroyed.
heap* shared_heap_of(std::uint32_t tag);

// A slab of the class from an abandoned heap, now `taker`'s; nullptr if none was found at once.
// REQUIRES: the caller holds `taker`.
slab* take_over_slab(heap& taker, unsigned class_index);

// Makes the processor's cache and heap and stores the cache at `place`, unless somebody has done
// so. False if memory is out. REQUIRES: cpu < max_cpus.
bool create_cpu_cache(std::atomic<cpu_cache*>& place, unsigned cpu);

// For whoever visits all heaps: the number ever created, and each of them (nullptr: destroyed).
unsigned heap_count();
heap* heap_at(unsigned index);
template <class Visit>
void for_each_heap(Visit visit) {
  for (unsigned index = 0; index < heap_count(); ++index)
    if (heap* const h = heap_at(index); h != nullptr)
      visit(*h);
}
unsigned heaps_with_thread();

// Whether a free block of the class waits in some thread's or processor's cache, or in an outbox.
// O(heaps), with a memory barrier for each. REQUIRES: no lock is held.
bool is_cached_or_under_way(const void* block, unsigned class_index);

// In the child of a fork: true if another thread held the lock (base/lock.hpp, reset_in_child()).
bool reset_registry_lock_in_child();
// In the child, for a heap that a thread which does not exist there had in hand: nobody visits it
// from now on, or gets anything from it. What lives in it stays, and frees of that go nowhere.
void set_aside(heap& h);
// In the child: every heap but the caller's lost its thread.
void abandon_all_but(heap* survivor);

} // namespace mete::heap
