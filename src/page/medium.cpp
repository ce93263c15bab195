// Medium objects: runs of pages inside units tagged `medium`.
//
// Units come from the unit level in small groups and lie side by side as it happens; the page
// level coalesces across them. Whole units of a free run go back when the unit level has no dirty
// ones left and would touch fresh memory, or when the run has been purged: not at once, because the
// next medium object would only borrow them again.
//
// SPDX-License-Identifier: MIT
#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/system.hpp"
#include "page/region_state.hpp"

#include <algorithm>
#include <bit>

namespace mete::page {
namespace {

constexpr std::uint32_t borrowed_units = 4;

std::uint32_t pages_for(std::size_t bytes) {
  return static_cast<std::uint32_t>(divide_up(bytes, os::page_bytes));
}

bool take_free_pages(std::uint32_t pages, std::uint32_t alignment, region*& where,
                     run_grant& taken) {
  const unsigned count = region_count.load(std::memory_order_relaxed);
  for (unsigned index = 0; index < count; ++index) {
    where = &regions[index];
    if (where->pages.allocate(pages, alignment, taken))
      return true;
  }
  return false;
}

// Moves units from the unit level to the page level. `alignment`: of the first one, in units.
bool borrow_units(std::size_t units, std::size_t alignment) {
  region* where = nullptr;
  run_grant taken{};
  if (!take_units(units, alignment, where, taken))
    return false;
  adopt_units(*where, {taken.first, static_cast<std::uint32_t>(units)}, taken.zeroed);
  return true;
}

// Returns the free run of units that came of it. REQUIRES: `part` is whole units of a free run of
// pages, which begins at `run_first`.
span return_units(region& where, std::uint32_t run_first, span part) {
  const std::uint32_t per_unit = pages_per_unit();
  const span pages{part.first * per_unit, part.count * per_unit};
  where.pages.remove(run_first, pages);
  for (std::uint32_t unit = part.first; unit < part.first + part.count; ++unit)
    if (where.pages.clear_dirty({unit * per_unit, per_unit}) != 0)
      where.units.mark_dirty({unit, 1});
  where.pages.forget(pages, per_unit);
  tag_units(where, part.first, part.count, tag_none, nullptr);
  return where.units.insert(part, os::coarse_now_ms());
}

run_entry* live_run(region* r, const char* begin) {
  if (r == nullptr || reinterpret_cast<std::uintptr_t>(begin) % os::page_bytes != 0 ||
      r->tags[r->unit_of(begin)].load(std::memory_order_relaxed) != tag_medium)
    return nullptr;
  run_entry& entry = r->pages.entry(r->page_of(begin));
  return entry.state == run_state::used ? &entry : nullptr;
}

} // namespace

void adopt_units(region& where, span units, bool zeroed) {
  tag_units(where, units.first, units.count, tag_medium, nullptr);
  where.divided_end = std::max(where.divided_end, units.first + units.count);
  where.units.split_into_granules(units);
  const span pages{units.first * pages_per_unit(), units.count * pages_per_unit()};
  if (!zeroed)
    where.pages.mark_dirty(pages);
  where.pages.insert(pages, os::coarse_now_ms());
}

bool return_dirty_units(region& where, std::uint32_t units) {
  const std::uint32_t per_unit = pages_per_unit();
  const std::uint32_t run = where.pages.find_dirty(units * per_unit, per_unit);
  if (run == no_granule)
    return false;
  return_units(where, run, {static_cast<std::uint32_t>(divide_up(run, per_unit)), units});
  return true;
}

span return_whole_units(region& where, std::uint32_t run_first, span part) {
  const auto first = static_cast<std::uint32_t>(divide_up(part.first, pages_per_unit()));
  const std::uint32_t end = (part.first + part.count) / pages_per_unit();
  return first < end ? return_units(where, run_first, {first, end - first}) : span{};
}

grant allocate_pages(std::size_t bytes, std::size_t alignment) {
  if (alignment >= max_region_bytes)
    return {};
  const std::uint32_t pages = pages_for(bytes);
  const std::uint32_t alignment_pages = alignment <= os::page_bytes ? 1 : pages_for(alignment);
  const std::size_t alignment_units = divide_up(alignment, unit_bytes);
  lock_guard guard(regions_lock);
  region* where = nullptr;
  run_grant taken{};
  if (!take_free_pages(pages, alignment_pages, where, taken)) {
    const std::size_t needed = divide_up(pages, pages_per_unit());
    if (!(needed < borrowed_units && borrow_units(borrowed_units, alignment_units)) &&
        !borrow_units(needed, alignment_units))
      return {};
    if (!take_free_pages(pages, alignment_pages, where, taken))
      return {};
  }
  run_entry& entry = where->pages.entry(taken.first);
  entry.older = 0;
  entry.newer = 0;
  note_dirty_bytes();
  return {where->page_address(taken.first), taken.zeroed};
}

std::size_t medium_bytes(const char* begin) {
  // A live object's entry changes only by its owner's calls, so the lock is not needed.
  const run_entry* const entry = live_run(find_region(begin), begin);
  return entry == nullptr ? 0 : std::size_t{entry->length} << os::page_shift;
}

bool release_pages(char* begin) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const run_entry* const entry = live_run(r, begin);
  if (entry == nullptr)
    return false;
  r->pages.release({r->page_of(begin), entry->length}, os::coarse_now_ms());
  note_dirty_bytes();
  return true;
}

void* medium_attachment(const char* begin) {
  region* const r = find_region(begin);
  const run_entry& entry = r->pages.entry(r->page_of(begin));
  return reinterpret_cast<void*>(std::uintptr_t{entry.newer} << 32 | entry.older);
}

void attach_to_medium(const char* begin, void* attachment) {
  region* const r = find_region(begin);
  run_entry& entry = r->pages.entry(r->page_of(begin));
  const auto value = reinterpret_cast<std::uintptr_t>(attachment);
  entry.older = static_cast<std::uint32_t>(value);
  entry.newer = static_cast<std::uint32_t>(value >> 32);
}

} // namespace mete::page
