// SPDX-License-Identifier: MIT
#include "front/dirty_limit.hpp"

#include "base/falling.hpp"
#include "base/options.hpp"
#include "front/background.hpp"
#include "front/maintenance.hpp"
#include "os/system.hpp"
#include "page/region.hpp"

#include <algorithm>

namespace mete::front {
namespace {

// True once for every size that memory has reached for the first time.
bool at_new_peak(std::size_t resident) {
  static constinit std::atomic<std::size_t> peak{0};
  if (resident <= peak.load(std::memory_order_relaxed))
    return false;
  peak.store(resident, std::memory_order_relaxed); // racy: at worst a limit is applied once less
  return true;
}

// Dirty memory is what the next allocations take first, so a program whose blocks come and go by
// the megabyte needs room for them; below the peak it costs nothing that was not there already. But
// at a new peak clean memory was taken although there is dirty memory: so that does not fit what is
// asked for, and most of it is not worth a higher peak. And what a program leaves behind when its
// memory falls is given back while it falls, if no background thread is there to do it later.
std::size_t dirty_limit(std::size_t resident, std::size_t dirty, bool new_peak) {
  static constinit falling_amount in_use_falling;
  const std::size_t in_use = resident > dirty ? resident - dirty : 0;
  const bool falling = falling_counts() && in_use_falling.note(in_use, os::coarse_now_ms());
  if (decay_ms() == 0)
    return 0;
  if (const long long wanted = option(options.dirty_limit); wanted != 0)
    return static_cast<std::size_t>(wanted);
  std::size_t limit = new_peak ? std::max(1 * MiB, resident / 6) : std::max(64 * MiB, resident / 2);
  if (falling && !background_allowed())
    limit = std::min(limit, std::max(512 * KiB, in_use / 16));
  return std::min(limit, os::memory_limit_bytes() / 8);
}

} // namespace

// What remains afterwards is in use, so the next attempt waits until it has grown noticeably.
void relieve_pressure() {
  static constinit std::atomic<std::size_t> remained{0};
  const std::size_t limit = os::memory_limit_bytes();
  const std::size_t resident = page::resident_bytes();
  if (resident < limit / 4 * 3) {
    remained.store(0, std::memory_order_relaxed);
    return;
  }
  if (resident < remained.load(std::memory_order_relaxed) + limit / 32)
    return;
  maintenance_turn turn;
  if (!turn)
    return;
  decay_round(true, SIZE_MAX);
  page::purge_runs_above(0);
  remained.store(page::resident_bytes(), std::memory_order_relaxed);
}

void purge_excess(bool allocated, std::size_t budget) {
  // The limit of the last new peak holds until it has been reached, a budget at a time.
  static constinit std::atomic<std::size_t> owed{SIZE_MAX};
  const std::size_t resident = page::resident_bytes();
  const std::size_t dirty = page::dirty_bytes();
  const bool new_peak = at_new_peak(resident) && allocated;
  const std::size_t limit =
      std::min(dirty_limit(resident, dirty, new_peak), owed.load(std::memory_order_relaxed));
  if (dirty <= limit) {
    owed.store(SIZE_MAX, std::memory_order_relaxed);
    return;
  }
  if (new_peak)
    owed.store(limit, std::memory_order_relaxed); // racy, too
  maintenance_turn turn;
  if (turn) // else somebody is at it
    page::purge_runs_above(limit, budget);
}

} // namespace mete::front
