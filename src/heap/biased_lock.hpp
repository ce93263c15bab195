// A lock that belongs to one thread: its owner enters and leaves by plain stores, anybody else
// pays.
//
// A heap's slow paths run under it, at a few instructions each. In exchange, everything a sleeping
// thread has left behind can be reached: the purger delivers its outbox and purges inside its
// slabs, fork finds every heap at rest, mete_collect() empties all of them.
//
//   owner:  inside = 1;  light barrier;  revoked?           other:  revoked = 1;  heavy barrier;
//           yes: inside = 0, wait.  no: go on                       wait until inside == 0
//
// By the barriers, at least one sees the other. Source: D. Dice, H. Huang, M. Yang, "Asymmetric
// Dekker synchronization" (2001), as in biased locks.
//
// The owner never nests. Others exclude each other by the word `revoked`, which names the thread
// that holds the lock.
//
// The owner may also be a processor: whichever thread runs there enters, by a restartable sequence
// that looks at both words and stores 1 into `inside` (heap/cpu_cache.cpp). The heavy barrier
// restarts such sequences; so here, too, one sees the other. The thread may be moved to another
// processor while it is inside; then those on the one that it left wait.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/futex.hpp"
#include "base/lock.hpp"
#include "os/barrier.hpp"

#include <atomic>
#include <cstdint>

namespace mete::heap {

class alignas(8) biased_lock { // both words are read at once by heap/cpu_cache.cpp
public:
  constexpr biased_lock() = default;

  // One that nobody ever enters.
  struct always_taken {};
  constexpr explicit biased_lock(always_taken) : revoked_(1) {}

  // --- For the owner.

  void enter() {
    lock_order_acquire(lock_rank::heap);
    METE_DEBUG_CHECK(inside_.load(std::memory_order_relaxed) == 0);
    inside_.store(1, std::memory_order_relaxed);
    os::light_barrier();
    // acquire: pairs with restore(); what the other changed is seen.
    if (revoked_.load(std::memory_order_acquire) != 0) [[unlikely]]
      enter_slow();
  }

  // enter() in two steps, for an owner that has to look at something else as well, behind the same
  // barrier (front/gate.hpp): announce(), and then, if is_revoked(), leave() again.
  void announce() {
    lock_order_acquire(lock_rank::heap);
    inside_.store(1, std::memory_order_relaxed);
    os::light_barrier();
  }
  // acquire: as in enter().
  bool is_revoked() const { return revoked_.load(std::memory_order_acquire) != 0; }

  // Whether the owner is inside; for itself, for instance in a signal handler, or for others. These
  // see it only if it entered before a barrier.
  const std::atomic<std::uint32_t>& presence() const { return inside_; }

  void leave() {
    lock_order_release(lock_rank::heap);
    // release: pairs with the load in revoke().
    inside_.store(0, std::memory_order_release);
  }

  // --- For a thread that has entered on its processor, or could not.

  void leave_on_cpu() {
    lock_order_release(lock_rank::heap);
    if (inside_.exchange(0, std::memory_order_release) == 2)
      futex_wake(inside_, INT32_MAX);
  }
  // Returns when another attempt may succeed.
  void await_entrance();

  // Where there are no sequences any more: false if somebody is inside or has revoked.
  bool try_enter_without_sequence() {
    std::uint32_t outside = 0;
    // Both orders, as in enter() with a full fence: what the other changed, and who came first.
    if (!inside_.compare_exchange_strong(outside, 1, std::memory_order_seq_cst))
      return false;
    if (revoked_.load(std::memory_order_seq_cst) == 0)
      return true;
    if (inside_.exchange(0, std::memory_order_release) == 2)
      futex_wake(inside_, INT32_MAX);
    return false;
  }

  // --- For everybody else.

  // Returns when the owner is outside and will stay there until restore().
  void revoke() {
    claim();
    os::heavy_barrier();
    await_outside();
  }

  // In two steps, so that one heavy barrier serves many locks: claim() all, heavy_barrier(),
  // await_outside() each.
  void claim();
  void await_outside();

  // REQUIRES: it has no owner now, and gets none before restore().
  bool try_claim_unowned() {
    std::uint32_t expected = 0;
    if (!revoked_.compare_exchange_strong(expected, thread_token(), std::memory_order_acquire,
                                          std::memory_order_relaxed))
      return false;
    lock_order_acquire(lock_rank::heap);
    return true;
  }

  void restore();

  // In the child of a fork: whoever held the lock is outside, unless that is the calling thread, as
  // its owner (`is_own`) or by revocation. True if it was a thread that does not exist here.
  bool reset_in_child(bool is_own);

private:
  void enter_slow();
  void sleep_while_revoked();

  std::atomic<std::uint32_t> inside_{0};  // 2: as 1, and somebody awaits the entrance
  std::atomic<std::uint32_t> revoked_{0}; // 0: no, else by whom; lock_contended: somebody sleeps
};
static_assert(sizeof(biased_lock) == 8);

// Owner access for a scope.
class [[nodiscard]] owner_guard {
public:
  explicit owner_guard(biased_lock& lock) : lock_(lock) { lock_.enter(); }
  ~owner_guard() { lock_.leave(); }
  owner_guard(const owner_guard&) = delete;
  owner_guard& operator=(const owner_guard&) = delete;

private:
  biased_lock& lock_;
};

} // namespace mete::heap
