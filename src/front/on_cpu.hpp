// Allocating and freeing in threads that have no cache of their own but use their processor's
// (heap/cpu_cache.hpp). The fast paths know nothing of it: such a thread's bins stay empty and
// full, so that every call takes the slow path, which comes here.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/cpu_cache.hpp"

#include <cstdint>

namespace mete::front {

// The values of the option.
enum class cpu_caches { never, always, for_many_threads };

// Decides what a thread that allocates for the first time gets: true for its processor's cache.
bool wants_cpu_cache();

inline bool is_on_cpu() {
  return heap::this_thread.phase == heap::thread_phase::on_cpu;
}

// What is left when heap::pop_on_cpu() and heap::push_on_cpu() have failed. REQUIRES: is_on_cpu().
//
// nullptr if memory is out; whoever asked knows how to make room.
void* refill_on_cpu(unsigned class_index);
// For calloc: `zeroed` if the block reads as zero.
void* refill_on_cpu_for_calloc(unsigned class_index, bool& zeroed);
// A block in a slab, whoever's that is; `tag` is of its unit. False if there is no memory for a
// heap.
[[nodiscard]] bool overflow_on_cpu(void* block, std::uint32_t tag);

} // namespace mete::front
