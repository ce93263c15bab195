// SPDX-License-Identifier: MIT
#include "base/lock.hpp"

#include "base/futex.hpp"

namespace mete {

constinit thread_local char thread_anchor = 0;

void ranked_lock::lock_slow() {
  constexpr int spins = 60;
  const std::uint32_t self = thread_token();
  for (int spin = 0; spin < spins; ++spin) {
    spin_pause();
    std::uint32_t expected = unlocked;
    if (state_.load(std::memory_order_relaxed) == unlocked &&
        state_.compare_exchange_weak(expected, self, std::memory_order_acquire,
                                     std::memory_order_relaxed))
      return;
  }
  // From here on the bit stays set: others may sleep as well.
  std::uint32_t state = state_.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint32_t wanted = (state == unlocked ? self : state) | lock_contended;
    if (state != wanted && !state_.compare_exchange_weak(state, wanted, std::memory_order_acquire,
                                                         std::memory_order_relaxed))
      continue;
    if (state == unlocked)
      return;
    futex_wait(state_, wanted);
    state = state_.load(std::memory_order_relaxed);
  }
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
