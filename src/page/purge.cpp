// Purging free runs: their memory goes back to the OS, their address space stays.
//
// A run that is being purged is out of its bin, as if it were used, so the call to the OS is made
// without the lock and nobody waits for it.
//
// SPDX-License-Identifier: MIT
#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/system.hpp"
#include "page/region_state.hpp"

#include <algorithm>

namespace mete::page {
namespace {

// A call to the OS counts in a budget like the purging of so many bytes.
constexpr std::size_t call_worth_bytes = 32 * KiB;

constinit std::atomic<std::size_t> dirty_total{0};
constinit std::atomic<std::size_t> dirty_units_total{0};
constinit std::atomic<std::size_t> resident_total{0}; // purged pages in slabs included
constinit std::atomic<std::ptrdiff_t> purged_in_slabs{0};

struct level {
  run_allocator& runs;
  region& where;
  unsigned granule_shift;
};

// The entries of pages are in use only where units are divided into pages. When a whole unit has
// come back to the unit level, so does the memory of its entries, as far as they fill pages of the
// table: `run` is a free run of units, of which `part` is new. The entries become zero, which is no
// run (run_state::none). REQUIRES: the lock, let go meanwhile.
void purge_page_entries(region& where, span run, span part) {
  const std::size_t bytes = pages_per_unit() * sizeof(run_entry); // for each unit
  const std::uint32_t end = std::min(run.first + run.count, where.divided_end);
  if (end <= run.first)
    return;
  const auto table = reinterpret_cast<std::uintptr_t>(&where.pages.entry(0));
  const auto entries = [=](std::size_t unit) { return table + unit * bytes; };
  const std::uintptr_t begin_address = std::max(align_up(entries(run.first), os::page_bytes),
                                                align_down(entries(part.first), os::page_bytes));
  const std::uintptr_t end_address =
      std::min(align_down(entries(end), os::page_bytes),
               align_up(entries(part.first + part.count), os::page_bytes));
  if (begin_address >= end_address)
    return;
  const auto first = static_cast<std::uint32_t>((begin_address - table) / bytes);
  const auto last = static_cast<std::uint32_t>((end_address - 1 - table) / bytes);
  const span covered{first, last + 1 - first};
  where.units.set_aside(run.first, covered);
  {
    unlock_guard unlocked(regions_lock);
    // A failure does no harm: the entries stay as they are, and none is in use.
    (void)os::purge(reinterpret_cast<char*>(begin_address), end_address - begin_address);
  }
  where.units.insert(covered, os::coarse_now_ms());
}

// Purges one run of `from`, or at most `most` bytes of it; 0 if there is none to purge. REQUIRES:
// the lock, let go meanwhile.
template <class Begin>
std::size_t purge_one(level from, Begin begin_purge, std::size_t most, bool& failed) {
  span taken{}; // clean pages in between cost next to nothing
  const std::size_t granules = std::max<std::size_t>(most >> from.granule_shift, 1);
  if (!begin_purge(from.runs,
                   static_cast<std::uint32_t>(std::min<std::size_t>(granules, UINT32_MAX)), taken))
    return 0;
  bool purged = false;
  {
    unlock_guard unlocked(regions_lock);
    purged = os::purge(from.where.base() + (std::size_t{taken.first} << from.granule_shift),
                       std::size_t{taken.count} << from.granule_shift);
  }
  const std::size_t dirty_before = from.runs.dirty_granules();
  const span run = from.runs.finish_purge(taken, purged, os::coarse_now_ms());
  failed = !purged;
  const std::size_t bytes = (dirty_before - from.runs.dirty_granules()) << from.granule_shift;
  note_dirty_bytes();
  if (!purged)
    return bytes;
  if (&from.runs == &from.where.units) {
    purge_page_entries(from.where, run, taken);
  } else {
    // A run is purged piece by piece; a unit at the edge of two pieces comes back with the second.
    const span clean = from.runs.entry(run.first).dirty == 0
                           ? run
                           : from.runs.clean_around(run, taken, pages_per_unit() - 1);
    const span units = return_whole_units(from.where, run.first, clean);
    purge_page_entries(from.where, units, units);
  }
  note_dirty_bytes();
  return bytes;
}

// Applies `begin_purge` to all levels of all regions until it finds no more, `enough` says so, or
// the budget is spent.
template <class Begin, class Enough>
std::size_t purge_all_levels(std::size_t budget, Begin begin_purge, Enough enough) {
  lock_guard guard(regions_lock);
  std::size_t bytes = 0;
  std::size_t spent = 0;
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed); ++index) {
    region& r = regions[index];
    const level levels[] = {{r.units, r, unit_shift}, {r.pages, r, os::page_shift}};
    for (const level& each : levels) {
      while (spent < budget && !enough()) {
        bool failed = false;
        const std::size_t step = purge_one(each, begin_purge, budget - spent, failed);
        bytes += step;
        spent += std::max(step, call_worth_bytes);
        if (failed || step == 0)
          break; // locked pages: they stay, and trying again at once would not end
      }
    }
  }
  return bytes;
}

} // namespace

void note_dirty_bytes() {
  std::size_t dirty = 0;
  std::size_t dirty_units = 0;
  std::size_t clean = 0;
  std::size_t committed = 0;
  const unsigned count = region_count.load(std::memory_order_relaxed);
  for (unsigned index = 0; index < count; ++index) {
    const region& r = regions[index];
    const std::size_t dirty_here =
        (r.units.dirty_granules() << unit_shift) + (r.pages.dirty_granules() << os::page_shift);
    dirty += dirty_here;
    dirty_units += r.units.dirty_granules();
    clean += (r.units.free_granules() << unit_shift) + (r.pages.free_granules() << os::page_shift) -
             dirty_here;
    committed += r.committed_units.load(std::memory_order_relaxed) << unit_shift;
  }
  dirty_total.store(dirty, std::memory_order_relaxed);
  dirty_units_total.store(dirty_units << unit_shift, std::memory_order_relaxed);
  resident_total.store(committed - clean, std::memory_order_relaxed);
}

std::size_t resident_bytes() {
  const auto total = static_cast<std::ptrdiff_t>(resident_total.load(std::memory_order_relaxed));
  const std::ptrdiff_t purged = purged_in_slabs.load(std::memory_order_relaxed);
  return total > purged ? static_cast<std::size_t>(total - purged) : 0; // read one after the other
}

void note_purged_in_slabs(std::ptrdiff_t more) {
  purged_in_slabs.fetch_add(more, std::memory_order_relaxed);
}

std::size_t dirty_bytes() {
  return dirty_total.load(std::memory_order_relaxed);
}

std::size_t dirty_unit_bytes() {
  return dirty_units_total.load(std::memory_order_relaxed);
}

std::size_t purge_runs_idle_for(std::uint32_t wait_ms, std::size_t budget) {
  const std::uint32_t now_ms = os::coarse_now_ms();
  const std::size_t bytes = purge_all_levels(
      budget,
      [=](run_allocator& runs, std::uint32_t most, span& taken) {
        return runs.begin_purge(now_ms, wait_ms, most, taken);
      },
      [] { return false; });
  lock_guard guard(regions_lock);
  move_frontiers_back();
  return bytes;
}

std::size_t purge_runs_above(std::size_t limit, std::size_t budget) {
  const std::size_t bytes = purge_all_levels(
      budget,
      [](run_allocator& runs, std::uint32_t most, span& taken) {
        return runs.begin_purge_any(most, taken);
      },
      [=] { return dirty_bytes() <= limit; });
  if (limit == 0) {
    lock_guard guard(regions_lock);
    move_frontiers_back();
  }
  return bytes;
}

} // namespace mete::page
