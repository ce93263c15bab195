// SPDX-License-Identifier: MIT
#include "base/lock.hpp"

#include "base/futex.hpp"

namespace mete {

void ranked_lock::lock_slow() {
  constexpr int spins = 60;
  for (int spin = 0; spin < spins; ++spin) {
    spin_pause();
    std::uint32_t expected = unlocked;
    if (state_.load(std::memory_order_relaxed) == unlocked &&
        state_.compare_exchange_weak(expected, locked, std::memory_order_acquire,
                                     std::memory_order_relaxed))
      return;
  }
  while (state_.exchange(contended, std::memory_order_acquire) != unlocked)
    futex_wait(state_, contended);
}

void ranked_lock::wake() {
  futex_wake(state_, 1);
}

#if defined(METE_DEBUG_CHECKS)
namespace {
// One counter per rank, because fork takes every heap's lock, all of one rank.
constinit thread_local unsigned held[8] = {};
} // namespace

void lock_order_acquire(lock_rank rank) {
  const auto index = static_cast<unsigned>(rank);
  for (unsigned higher = index + 1; higher < 8; ++higher)
    METE_CHECK(held[higher] == 0 && "lock order: a lock of a higher rank is held");
  // fork and collection hold several heaps at once; nobody else waits for a second one.
  METE_CHECK((held[index] == 0 || rank == lock_rank::heap || rank == lock_rank::explicit_heap) &&
             "lock order: a rank is taken twice");
  ++held[index];
}

void lock_order_note(lock_rank rank) {
  ++held[static_cast<unsigned>(rank)];
}

void lock_order_release(lock_rank rank) {
  METE_CHECK(held[static_cast<unsigned>(rank)] > 0);
  --held[static_cast<unsigned>(rank)];
}

void lock_order_reset() {
  for (unsigned& count : held)
    count = 0;
}
#endif

} // namespace mete
