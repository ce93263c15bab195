// The thread cache: per size class, a stack of pointers to free blocks that the thread may hand out
// again without asking anybody.
//
//   array:  | null | oldest ... newest |        | end |
//           ^ never popped      ^ top
//
// malloc pops, free pushes; of the block they touch nothing but the mark of freed ones
// (heap/freed_mark.hpp). The null below the oldest entry is what says
// "empty", and the entry behind the last slot is what says "full": so neither needs a bound. Both
// are what the bins of a thread without a heap point to, so that neither path asks whether the
// thread is known.
//
// This is the state that the fast paths address, in initial-exec TLS: one instruction from the
// thread pointer, and small enough (static_assert below) that dlopen finds room for it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/size_class.hpp"

#include <cstddef>
#include <cstdint>

namespace mete::heap {

class heap;

struct cache_bin {
  void** top; // the newest entry, or the null
  // By which free() checks whether a block of the class begins at an address (begins_block()); 0,
  // which no address satisfies, for classes whose slabs have several units.
  std::uint32_t reciprocal;
  std::uint32_t zero; // taken for a reciprocal where the tag has the bit tag_purged
};
static_assert(sizeof(cache_bin) == 1 << tag_class_shift, "a tag's class bits are a bin's offset");
static_assert(offsetof(cache_bin, reciprocal) + tag_purged == offsetof(cache_bin, zero));

enum class thread_phase : std::uint8_t {
  unknown,  // has not allocated yet
  attached, // has a heap
  on_cpu,   // has none, uses its processor's (heap/cpu_cache.hpp)
  exited,   // its heap is given up; what it still does goes through a shared one
};

// No owner has this tag (heap/registry.hpp), and no unit: every free takes the slow path.
inline constexpr std::uint32_t tag_of_nobody = ~std::uint32_t{0} << page::tag_owner_shift;

// The heaps of processors have the tags from here on, by the processors' numbers.
inline constexpr unsigned max_cpus = 1 << 13; // the most that Linux can be built for
inline constexpr std::uint32_t first_cpu_tag = (1u << 16 | 1u) << page::tag_owner_shift;

struct thread_state {
  cache_bin bins[class_count];
  std::uint32_t tag;
  thread_phase phase;
  std::uint8_t exit_rounds;
  heap* owned;
};
static_assert(sizeof(thread_state) == 1040, "dlopen() gives a library about 1.5 KiB of static TLS");

// An array without a slot: the null, and the end.
extern void* empty_bin[2] asm("mete_empty_bin");

// What stands behind the last slot of an array: no block has this address.
inline constexpr std::uintptr_t end_of_array = 1;

inline bool is_full(const cache_bin& bin) {
  return reinterpret_cast<std::uintptr_t>(bin.top[1]) == end_of_array;
}

// As a thread's state is before it first allocates.
thread_state make_unknown_thread();

// The assembler name is what heap/thread_access.hpp addresses it by.
[[gnu::tls_model("initial-exec"),
  gnu::visibility("hidden")]] extern constinit thread_local thread_state
    this_thread asm("mete_this_thread");

} // namespace mete::heap
