// An asymmetric memory barrier: free of charge for the thread that passes it all the time, at the
// cost of an interrupt to every processor for the one that passes it rarely.
//
// After a store A; light_barrier(); load B in one thread and a store B; heavy_barrier(); load A in
// another, at least one of the loads sees the other's store: what a full fence in both would give.
// Built on membarrier(2), private expedited; where the kernel lacks it, both are full fences.
// Idea: D. Dice, H. Huang, M. Yang, "Asymmetric Dekker synchronization" (2001).
//
// A sandbox may come to refuse membarrier while the process runs. Then both become fences, for good
// (docs/decisions/0019-membarrier-refused.md).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>

namespace mete::os {

// True when light_barrier() must be a real fence.
extern std::atomic<bool> light_barrier_is_fence;

// Registers the process with the kernel. Call before there are threads: it is free then.
// Also after fork, in the child.
void initialise_barriers();

// From now on both barriers are fences. Any time; afterwards it is so for all threads.
void use_fences();

inline void light_barrier() {
  if (light_barrier_is_fence.load(std::memory_order_relaxed)) [[unlikely]]
    std::atomic_thread_fence(std::memory_order_seq_cst);
  else
    std::atomic_signal_fence(std::memory_order_seq_cst); // the compiler alone is held back
}

void heavy_barrier();

// What is left of restartable sequences (os/rseq.hpp) when the kernel refuses to restart them:
// first no new one may do anything, then, some time later, none is under way any more.
enum class restarts_end { begins, is_complete };
using end_of_restarts = void (*)(restarts_end stage);

// From now on heavy_barrier() also restarts the sequences of all other threads: whatever they saw
// before the barrier, they look again. Idempotent. False if the kernel cannot. Again after fork, by
// initialise_barriers(). `on_end` is called, perhaps more than once, if the kernel refuses later.
bool initialise_restarts(end_of_restarts on_end);

} // namespace mete::os
