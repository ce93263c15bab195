// SPDX-License-Identifier: MIT
#include "heap/biased_lock.hpp"

#include "os/thread.hpp"

namespace mete::heap {

void biased_lock::sleep_while_revoked() {
  for (int spin = 0; spin < 60; ++spin) {
    if (revoked_.load(std::memory_order_relaxed) == 0)
      return;
    spin_pause();
  }
  std::uint32_t state = revoked_.load(std::memory_order_relaxed);
  while (state != 0) {
    const std::uint32_t awaited = state | lock_contended;
    if (state == awaited ||
        revoked_.compare_exchange_strong(state, awaited, std::memory_order_relaxed))
      futex_wait(revoked_, awaited);
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
  while (!revoked_.compare_exchange_weak(expected, thread_token(), std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
    if (expected != 0)
      sleep_while_revoked();
    expected = 0;
  }
  lock_order_acquire(lock_rank::heap);
}

void biased_lock::await_outside() {
  // The owner's stretch is short, unless it was preempted in the middle: then it needs a processor,
  // which may be this one. It does not wake anybody, because leaving must stay cheap.
  for (int spin = 0; inside_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 200)
      spin_pause();
    else
      os::rest_briefly();
  }
}

void biased_lock::restore() {
  lock_order_release(lock_rank::heap);
  // release: pairs with the acquire in enter() and claim().
  if ((revoked_.exchange(0, std::memory_order_release) & lock_contended) != 0)
    futex_wake(revoked_, INT32_MAX);
}

bool biased_lock::reset_in_child(bool is_own) {
  const std::uint32_t holder = revoked_.load(std::memory_order_relaxed) & ~lock_contended;
  const bool own_revocation = holder == thread_token();
  bool vanished = holder != 0 && !own_revocation;
  if (!own_revocation)
    revoked_.store(0, std::memory_order_relaxed);
  if (!is_own) {
    vanished = vanished || inside_.load(std::memory_order_relaxed) != 0;
    inside_.store(0, std::memory_order_relaxed);
  }
  return vanished;
}

} // namespace mete::heap
