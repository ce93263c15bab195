// A mutex of one word with a rank.
//
// Ranks are the lock order as data: a thread may take a lock only if its rank is higher than that
// of every lock it holds. Debug builds check this at each acquisition, so that a deadlock is found
// by any test that merely passes by, not only by the unlucky interleaving.
//
// The word has three states (free, taken, taken with sleepers), after U. Drepper, "Futexes are
// tricky" (2011). A short spin comes first: what is guarded here takes well under a microsecond.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/check.hpp"

#include <atomic>
#include <cstdint>

namespace mete {

// Outermost first. fork takes them in this order (front/fork.cpp).
enum class lock_rank : std::uint8_t {
  maintenance,   // one purge, collection or fork preparation at a time
  registry,      // heaps: who exists, who has no thread
  explicit_heap, // a heap that many threads use
  heap,          // heap/biased_lock.hpp takes part in the order with this rank
  pages,         // runs of units and pages
  large,         // own mappings
  metadata,
};

#if defined(METE_DEBUG_CHECKS)
void lock_order_acquire(lock_rank rank); // checks the order
void lock_order_note(lock_rank rank);    // does not
void lock_order_release(lock_rank rank);
// In the child of a fork: the thread that called fork holds nothing any more.
void lock_order_reset();
#else
inline void lock_order_acquire(lock_rank) {}
inline void lock_order_note(lock_rank) {}
inline void lock_order_release(lock_rank) {}
inline void lock_order_reset() {}
#endif

class ranked_lock {
public:
  constexpr explicit ranked_lock(lock_rank rank) : rank_(rank) {}
  ranked_lock(const ranked_lock&) = delete;
  ranked_lock& operator=(const ranked_lock&) = delete;

  void lock() {
    lock_order_acquire(rank_);
    std::uint32_t expected = unlocked;
    if (!state_.compare_exchange_strong(expected, locked, std::memory_order_acquire,
                                        std::memory_order_relaxed)) [[unlikely]]
      lock_slow();
  }

  bool try_lock() {
    std::uint32_t expected = unlocked;
    if (!state_.compare_exchange_strong(expected, locked, std::memory_order_acquire,
                                        std::memory_order_relaxed))
      return false;
    lock_order_note(rank_); // whoever does not wait may take it in any order
    return true;
  }

  void unlock() {
    lock_order_release(rank_);
    if (state_.exchange(unlocked, std::memory_order_release) == contended) [[unlikely]]
      wake();
  }

  // In the child of a fork: whoever held or awaited this lock does not exist there.
  void reset_after_fork() { state_.store(unlocked, std::memory_order_relaxed); }

private:
  static constexpr std::uint32_t unlocked = 0, locked = 1, contended = 2;

  void lock_slow();
  void wake();

  std::atomic<std::uint32_t> state_{unlocked};
  lock_rank rank_;
};

// Holds a lock for a scope. (std::lock_guard lives in <mutex>, which drags in libstdc++.)
template <class Lock>
class [[nodiscard]] lock_guard {
public:
  explicit lock_guard(Lock& lock) : lock_(lock) { lock_.lock(); }
  ~lock_guard() { lock_.unlock(); }
  lock_guard(const lock_guard&) = delete;
  lock_guard& operator=(const lock_guard&) = delete;

private:
  Lock& lock_;
};

// The other way round: lets go of a lock for a scope, around a call to the OS.
template <class Lock>
class [[nodiscard]] unlock_guard {
public:
  explicit unlock_guard(Lock& lock) : lock_(lock) { lock_.unlock(); }
  ~unlock_guard() { lock_.lock(); }
  unlock_guard(const unlock_guard&) = delete;
  unlock_guard& operator=(const unlock_guard&) = delete;

private:
  Lock& lock_;
};

} // namespace mete
