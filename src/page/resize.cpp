// Large runs and medium objects that change their size in place, or whose memory has been moved
// away.
//
// What grows takes what is free behind it, wherever that is booked: at its own level, at the other
// one, or beyond the frontier, which moves then.
//
// SPDX-License-Identifier: MIT
#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/system.hpp"
#include "page/region_state.hpp"

namespace mete::page {
namespace {

constexpr unsigned most_steps = 4; // bounded work under the lock

// The length of the free run that begins at `granule`, which comes right behind a run in use.
std::uint32_t free_length(const run_allocator& runs, std::uint32_t granule) {
  const run_entry& entry = runs.entry(granule);
  return entry.state == run_state::free ? entry.length : 0;
}

// Whole units that begin at `unit` and are free pages go to the unit level.
bool return_pages_at(region& r, std::uint32_t unit) {
  if (r.tags[unit].load(std::memory_order_relaxed) != tag_medium)
    return false;
  const std::uint32_t first = unit * pages_per_unit();
  const std::uint32_t length = free_length(r.pages, first);
  if (length < pages_per_unit())
    return false;
  return_whole_units(r, first, {first, length});
  return true;
}

// Sees to it that at least `wanted` units from `first` on, which come right behind a run in use,
// are one free run; false if they are in use.
bool make_units_free(region& r, std::uint32_t first, std::uint32_t wanted) {
  for (unsigned step = 0; step < most_steps; ++step) {
    const std::size_t frontier = r.committed_units.load(std::memory_order_relaxed);
    const std::uint32_t length = first < frontier ? free_length(r.units, first) : 0;
    if (length >= wanted)
      return true;
    const bool more =
        first + length == frontier ? grow(r, wanted - length) : return_pages_at(r, first + length);
    if (!more)
      return false;
  }
  return false;
}

// The same of pages.
bool make_pages_free(region& r, std::uint32_t first, std::uint32_t wanted) {
  const std::uint32_t length = free_length(r.pages, first);
  if (length >= wanted)
    return true;
  const std::uint32_t unit = (first + length) / pages_per_unit();
  const auto units = static_cast<std::uint32_t>(divide_up(wanted - length, pages_per_unit()));
  if ((first + length) % pages_per_unit() != 0 || !make_units_free(r, unit, units))
    return false;
  adopt_units(r, {unit, units}, r.units.take({unit, units}));
  return true;
}

} // namespace

bool resize_large_run(char* begin, std::size_t bytes) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->unit_of(begin);
  const std::uint32_t count = r->units.entry(first).length;
  const auto wanted = static_cast<std::uint32_t>(divide_up(bytes, unit_bytes));
  if (wanted > count) {
    bool zeroed = false;
    if (!make_units_free(*r, first + count, wanted - count) ||
        !r->units.extend(first, count, wanted - count, zeroed))
      return false;
  } else if (wanted < count) {
    r->units.shrink(first, wanted);
    r->units.release({first + wanted, count - wanted}, os::coarse_now_ms());
  }
  note_dirty_bytes();
  return true;
}

bool resize_pages(char* begin, std::size_t bytes) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->page_of(begin);
  const std::uint32_t count = r->pages.entry(first).length;
  const auto wanted = static_cast<std::uint32_t>(divide_up(bytes, os::page_bytes));
  if (wanted > count) {
    bool zeroed = false;
    if (!make_pages_free(*r, first + count, wanted - count) ||
        !r->pages.extend(first, count, wanted - count, zeroed))
      return false;
  } else if (wanted < count) {
    r->pages.shrink(first, wanted);
    r->pages.release({first + wanted, count - wanted}, os::coarse_now_ms());
  }
  note_dirty_bytes();
  return true;
}

void release_empty_large_run(char* begin) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->unit_of(begin);
  tag_units(*r, first, 1, tag_none, nullptr);
  r->units.insert({first, r->units.entry(first).length}, os::coarse_now_ms());
  note_dirty_bytes();
}

void release_empty_pages(char* begin) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->page_of(begin);
  const span freed{first, r->pages.entry(first).length};
  const span run = r->pages.insert(freed, os::coarse_now_ms());
  return_whole_units(*r, run.first, r->pages.entry(run.first).dirty == 0 ? run : freed);
  note_dirty_bytes();
}

} // namespace mete::page
