// Caches per processor, for threads without a cache and heap of their own.
//
// Hundreds of threads on a few processors each keep free blocks, partly used slabs and arrays, and
// nearly all of them sleep. A processor's cache and heap serve whichever thread runs there. The
// cache is that of a thread (heap/thread_cache.hpp): the same bins, filled from the heap by
// heap/cache.hpp. What differs is who may touch them:
//
//   - pop and push are restartable sequences (os/rseq.hpp) whose last instruction stores `top`;
//   - all else is done by whoever is inside the heap's biased lock, whose owner is the processor:
//     a thread that runs there enters by a sequence, anybody else revokes.
//
// Every sequence first looks at the lock and does nothing if somebody is inside or has revoked.
// Hence the invariant: bins and arrays are changed either by a sequence while the lock is free, or
// by the one holder. Proof: a sequence that saw the lock free and is cut short by an entrance on
// its processor was preempted, so the kernel restarts it; a revoker's heavy barrier restarts all.
//
// Blocks of any processor's heap may lie in any processor's cache; on their way back to the slabs
// those of others take the outbox. Blocks of threads' heaps go there at once, those of explicit
// heaps into their slabs: what an explicit heap takes along when it is destroyed must not be
// cached.
//
// If the kernel comes to refuse to restart sequences (a sandbox may forbid it), they are given up:
// from then on each sequence finds a lock that is always taken, and after a while none is under way
// any more; then threads enter by an atomic exchange, for each block.
//
// Thread safety: all functions. x86-64 only so far; elsewhere no process has these caches.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"
#include "heap/thread_cache.hpp"

namespace mete::heap {

struct alignas(cache_line_bytes) cpu_cache {
  thread_state state;             // `owned` is the heap
  std::atomic<biased_lock*> lock; // the heap's, or one that is always taken
};

// False if this process cannot have them, for good. Before the first use of what follows.
bool enable_cpu_caches();

// From and to the cache of the processor that the thread runs on; nullptr or false if that takes
// the slow way. REQUIRES: the block is one of a processor's heap.
void* pop_on_cpu(unsigned class_index);
[[nodiscard]] bool push_on_cpu(unsigned class_index, void* block);

// Inside of a processor's heap, nearly always the one that the thread runs on, for a scope.
class [[nodiscard]] cpu_guard {
public:
  cpu_guard();
  ~cpu_guard();
  cpu_guard(const cpu_guard&) = delete;
  cpu_guard& operator=(const cpu_guard&) = delete;

  // nullptr if there is no memory for a heap.
  heap* get() const { return cache_ != nullptr ? cache_->state.owned : nullptr; }
  // REQUIRES: there is a heap.
  thread_state& cache() const { return cache_->state; }

private:
  cpu_cache* cache_;
};

// The lock that sequences are to look at in a new cache.
biased_lock* lock_for_sequences(heap& h);

// The processor's heap that the calling thread is inside of, or nullptr: for a signal handler that
// interrupted it there.
const heap* entered_cpu_heap();

// REQUIRES: the caller holds the heap, which is a processor's.
void check_cpu_cache(heap& h);

} // namespace mete::heap
