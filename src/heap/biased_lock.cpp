// SPDX-License-Identifier: MIT
#include "heap/biased_lock.hpp"

#include <sched.h>

namespace mete::heap {

void biased_lock::sleep_while_revoked() {
  for (int spin = 0; spin < 60; ++spin) {
    if (revoked_.load(std::memory_order_relaxed) == 0)
      return;
    spin_pause();
  }
  std::uint32_t state = revoked_.load(std::memory_order_relaxed);
  while (state != 0) {
    if (state == 2 || revoked_.compare_exchange_strong(state, 2, std::memory_order_relaxed))
      futex_wait(revoked_, 2);
    state = revoked_.load(std::memory_order_relaxed);
  }
}

void biased_lock::enter_slow() {
  do {
    inside_.store(0, std::memory_order_release);
    sleep_while_revoked();
    inside_.store(1, std::memory_order_relaxed);
    os::light_barrier();
  } while (revoked_.load(std::memory_order_acquire) != 0);
}

void biased_lock::await_entrance() {
  if (revoked_.load(std::memory_order_relaxed) != 0)
    return sleep_while_revoked();
  // No spinning: whoever is inside was most likely preempted here, by the caller.
  std::uint32_t state = inside_.load(std::memory_order_relaxed);
  if (state == 2 ||
      (state == 1 && inside_.compare_exchange_strong(state, 2, std::memory_order_relaxed)))
    futex_wait(inside_, 2);
}

void biased_lock::claim() {
  std::uint32_t expected = 0;
  while (!revoked_.compare_exchange_weak(expected, 1, std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
    if (expected != 0)
      sleep_while_revoked();
    expected = 0;
  }
  lock_order_acquire(lock_rank::heap);
}

void biased_lock::await_outside() {
  // The owner's stretch is short, unless it was preempted in the middle: then its turn comes first.
  for (int spin = 0; inside_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 200)
      spin_pause();
    else
      ::sched_yield();
  }
}

void biased_lock::restore() {
  lock_order_release(lock_rank::heap);
  // release: pairs with the acquire in enter() and claim().
  if (revoked_.exchange(0, std::memory_order_release) == 2)
    futex_wake(revoked_, INT32_MAX);
}

} // namespace mete::heap
