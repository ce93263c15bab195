// Whether an amount of memory is falling: well below what it was, and lower than ever since.
//
// A fall is counted when more than three eighths, and more than a few MiB, have gone; it is over
// when the amount has risen a little again, and goes on when it goes below its lowest point. Only
// so many falls are counted in a time, because what falls again and again will be needed again. So
// a program whose memory wavers pays for giving it back neither time nor page faults, and a program
// that lets go of most of it gives it back while it does so, because nobody may come by afterwards.
//
// Thread safety: all functions; the answers are approximate if several threads ask at once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mete {

// What may happen some times in a row, but in the long run only now and then. (A token bucket, kept
// as the moment at which it will be full again.)
class seldom {
public:
  // True if it may happen now.
  bool take(std::uint32_t now_ms) {
    std::uint32_t until_full = full_at_ms_.load(std::memory_order_relaxed) - now_ms;
    if (until_full > in_a_row * interval_ms || !taken_.load(std::memory_order_relaxed))
      until_full = 0; // it is full, since when does not matter
    if (until_full > (in_a_row - 1) * interval_ms)
      return false;
    full_at_ms_.store(now_ms + until_full + interval_ms, std::memory_order_relaxed);
    taken_.store(true, std::memory_order_relaxed);
    return true;
  }

private:
  static constexpr std::uint32_t in_a_row = 16;
  static constexpr std::uint32_t interval_ms = 500;

  std::atomic<std::uint32_t> full_at_ms_{0};
  std::atomic<bool> taken_{false};
};

class falling_amount {
public:
  // With 8 MiB two programs of the suite had up to 30 % more page faults (docs/performance.md).
  static constexpr std::size_t small_change_bytes = 14 * MiB;

  // Tells the present amount; returns whether it is falling.
  bool note(std::size_t now, std::uint32_t now_ms) {
    const std::size_t low = low_.load(std::memory_order_relaxed);
    if (falling_.load(std::memory_order_relaxed)) {
      if (now < low)
        low_.store(now, std::memory_order_relaxed);
      else if (now - low > wobble(low))
        rise(now);
      return falling_.load(std::memory_order_relaxed);
    }
    const std::size_t high = high_.load(std::memory_order_relaxed);
    if (now > high)
      high_.store(now, std::memory_order_relaxed);
    else if (high - now > large_change(high))
      return fall(now, falls_.take(now_ms));
    else if (now + wobble(low) < low)
      return fall(now, true);
    if (now > low && now - low > large_change(low))
      low_.store(0, std::memory_order_relaxed); // what comes next is another fall
    return false;
  }

private:
  static std::size_t large_change(std::size_t amount) {
    return amount / 8 * 3 > small_change_bytes ? amount / 8 * 3 : small_change_bytes;
  }
  static std::size_t wobble(std::size_t amount) {
    return amount / 16 > 512 * KiB ? amount / 16 : 512 * KiB;
  }

  // One that is not counted is over at once, and the next begins here.
  bool fall(std::size_t now, bool counts) {
    low_.store(counts ? now : 0, std::memory_order_relaxed);
    high_.store(now, std::memory_order_relaxed);
    falling_.store(counts, std::memory_order_relaxed);
    return counts;
  }
  void rise(std::size_t now) {
    high_.store(now, std::memory_order_relaxed);
    falling_.store(false, std::memory_order_relaxed);
  }

  std::atomic<std::size_t> high_{0}; // since the last fall
  std::atomic<std::size_t> low_{0};  // of the last fall; 0: no longer of interest
  std::atomic<bool> falling_{false};
  seldom falls_;
};

} // namespace mete
