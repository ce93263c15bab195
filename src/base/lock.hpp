// A mutex of one word with a rank.
//
// Ranks are the lock order as data: a thread may take a lock only if its rank is higher than that
// of every lock it holds. Debug builds check this at each acquisition, so that a deadlock is found
// by any test that merely passes by, not only by the unlucky interleaving.
//
// The word is 0 when the lock is free; else it names the thread that holds it, and one bit says
// that somebody sleeps (after U. Drepper, "Futexes are tricky", 2011). The name is for the child of
// a fork, where only one thread exists: a lock that it does not hold itself is held by nobody. A
// short spin comes first: what is guarded here takes well under a microsecond.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/check.hpp"

#include <atomic>
#include <cstdint>

namespace mete {

// Outermost first. A fork waits until none of them is held (front/gate.hpp).
enum class lock_rank : std::uint8_t {
  maintenance,   // one purge or collection at a time
  registry,      // heaps: who exists, who has no thread
  explicit_heap, // a heap that many threads use
  heap,          // heap/biased_lock.hpp takes part in the order with this rank
  pages,         // runs of units and pages
  large,         // own mappings
  metadata,
  gate, // whether the gate is open
};

#if defined(METE_DEBUG_CHECKS)
void lock_order_acquire(lock_rank rank); // checks the order
void lock_order_note(lock_rank rank);    // does not
void lock_order_release(lock_rank rank);
// The calling thread holds nothing any more: for tests that let a thread end with a lock.
void lock_order_reset();
#else
inline void lock_order_acquire(lock_rank) {}
inline void lock_order_note(lock_rank) {}
inline void lock_order_release(lock_rank) {}
inline void lock_order_reset() {}
#endif

// What a lock says of its holder: odd, so never 0, and different for each thread that lives.
[[gnu::tls_model("initial-exec"),
  gnu::visibility("hidden")]] extern constinit thread_local char thread_anchor;
inline constexpr std::uint32_t lock_contended = std::uint32_t{1} << 31;
inline std::uint32_t thread_token() {
  const auto address = reinterpret_cast<std::uintptr_t>(&thread_anchor);
  return (static_cast<std::uint32_t>(address >> 5) | 1) & ~lock_contended;
}

class ranked_lock {
public:
  constexpr explicit ranked_lock(lock_rank rank) : rank_(rank) {}
  ranked_lock(const ranked_lock&) = delete;
  ranked_lock& operator=(const ranked_lock&) = delete;

  void lock() {
    lock_order_acquire(rank_);
    std::uint32_t expected = unlocked;
    if (!state_.compare_exchange_strong(expected, thread_token(), std::memory_order_acquire,
                                        std::memory_order_relaxed)) [[unlikely]]
      lock_slow();
  }

  bool try_lock() {
    std::uint32_t expected = unlocked;
    if (!state_.compare_exchange_strong(expected, thread_token(), std::memory_order_acquire,
                                        std::memory_order_relaxed))
      return false;
    lock_order_note(rank_); // whoever does not wait may take it in any order
    return true;
  }

  void unlock() {
    lock_order_release(rank_);
    if ((state_.exchange(unlocked, std::memory_order_release) & lock_contended) != 0) [[unlikely]]
      wake();
  }

  bool is_held_by_caller() const {
    return (state_.load(std::memory_order_relaxed) & ~lock_contended) == thread_token();
  }

  // In the child of a fork: frees the lock, unless the calling thread holds it. True if another
  // thread held it, which does not exist here: what the lock guards may be half changed then.
  bool reset_in_child() {
    const std::uint32_t holder = state_.load(std::memory_order_relaxed) & ~lock_contended;
    if (holder == unlocked || holder == thread_token())
      return false;
    state_.store(unlocked, std::memory_order_relaxed);
    return true;
  }

private:
  static constexpr std::uint32_t unlocked = 0;

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
