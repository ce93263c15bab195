// SPDX-License-Identifier: MIT
#include "front/falling_slabs.hpp"

#include "base/bits.hpp"
#include "base/falling.hpp"
#include "front/background.hpp"
#include "front/maintenance.hpp"
#include "os/system.hpp"

#include <algorithm>

namespace mete::front {
namespace {

constexpr std::size_t steps = 16;
constexpr std::size_t min_step_bytes = 64 * KiB;

// Free, and resident, but a page holds a live block, too: the last sweep had to leave it.
constinit std::atomic<std::size_t> kept_bytes{0};

std::size_t sum(const std::atomic<std::ptrdiff_t>& total) {
  return static_cast<std::size_t>(
      std::max(total.load(std::memory_order_relaxed), std::ptrdiff_t{0}));
}

// The bytes of small blocks that are live, and those that are resident beside them.
struct slab_bytes {
  std::size_t live;
  std::size_t slack;
};
slab_bytes bytes_in_slabs() {
  const std::size_t live = sum(heap::totals.live_bytes);
  return {live, difference_or_zero(sum(heap::totals.footprint_bytes), live)};
}

} // namespace

bool slabs_are_falling() {
  static constinit falling_amount live_falling;
  return falling_counts() && live_falling.note(bytes_in_slabs().live, os::coarse_now_ms());
}

std::size_t shrink_step() {
  const slab_bytes now = bytes_in_slabs();
  return std::max(min_step_bytes, std::min((now.live + now.slack) / 2, now.live) / steps);
}

std::size_t unused_in_slabs() {
  return difference_or_zero(bytes_in_slabs().slack, kept_bytes.load(std::memory_order_relaxed));
}

bool slabs_have_shrunk() {
  const std::size_t slack = bytes_in_slabs().slack;
  const std::size_t kept = std::min(kept_bytes.load(std::memory_order_relaxed), slack);
  const bool due = slack - kept >= shrink_step() && slabs_are_falling() && !background_allowed();
  kept_bytes.store(due ? slack : kept, std::memory_order_relaxed);
  return due;
}

void note_purged(std::size_t bytes) {
  kept_bytes.store(difference_or_zero(kept_bytes.load(std::memory_order_relaxed), bytes),
                   std::memory_order_relaxed);
}

void note_settled() {
  kept_bytes.store(bytes_in_slabs().slack, std::memory_order_relaxed);
}

} // namespace mete::front
