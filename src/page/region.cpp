// SPDX-License-Identifier: MIT
#include "page/region.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/system.hpp"
#include "page/region_state.hpp"

namespace mete::page {

constinit primary_view primary;
constinit ranked_lock regions_lock{lock_rank::pages};
constinit region regions[max_regions];
constinit std::atomic<unsigned> region_count{0};

namespace {

template <class Attempt>
bool in_some_region(region*& where, Attempt attempt) {
  const unsigned count = region_count.load(std::memory_order_relaxed);
  for (unsigned index = 0; index < count; ++index) {
    where = &regions[index];
    if (attempt(*where))
      return true;
  }
  return false;
}

// What is dirty first, wherever it lies: to reuse memory that is there keeps the peak low.
bool take_free_units(std::uint32_t units, std::uint32_t alignment, region*& where,
                     run_grant& taken) {
  return in_some_region(
             where, [&](region& r) { return r.units.allocate_dirty(units, alignment, taken); }) ||
         (alignment == 1 && in_some_region(where,
                                           [&](region& r) {
                                             return return_dirty_units(r, units) &&
                                                    r.units.allocate(units, 1, taken);
                                           })) ||
         in_some_region(where,
                        [&](region& r) { return r.units.allocate(units, alignment, taken); });
}

// Commits more units at the end of some region, or of a new one, in which so many fit.
bool grow_some_region(std::size_t units, std::uint32_t alignment) {
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed); ++index) {
    region& r = regions[index];
    const std::size_t frontier = r.committed_units.load(std::memory_order_relaxed);
    if (grow(r, r.units.first_aligned(frontier, alignment) + units - frontier))
      return true;
  }
  // Its first unit is aligned to a huge page.
  const std::size_t needed = alignment <= huge_page_bytes / unit_bytes ? units : units + alignment;
  region* const added = needed < max_region_bytes / unit_bytes ? add_region(needed) : nullptr;
  return added != nullptr && grow(*added, needed);
}

} // namespace

bool take_units(std::size_t units, std::size_t alignment, region*& where, run_grant& taken) {
  constexpr std::size_t most = max_region_bytes / unit_bytes;
  if (units >= most || alignment >= most)
    return false;
  const auto count = static_cast<std::uint32_t>(units);
  const auto aligned_to = static_cast<std::uint32_t>(alignment);
  return take_free_units(count, aligned_to, where, taken) ||
         (grow_some_region(units, aligned_to) && take_free_units(count, aligned_to, where, taken));
}

void tag_units(region& where, std::uint32_t first, std::size_t units, std::uint32_t tag,
               void* descriptor) {
  for (std::size_t unit = first; unit < first + units; ++unit) {
    where.descriptors[unit].store(descriptor, std::memory_order_relaxed);
    where.tags[unit].store(tag, std::memory_order_relaxed);
  }
}

region* find_region(const void* address) {
  const unsigned count = region_count.load(std::memory_order_acquire);
  for (unsigned index = 0; index < count; ++index)
    if (regions[index].contains(address))
      return &regions[index];
  return nullptr;
}

location locate_beyond_primary(const void* address) {
  region* const r = find_region(address);
  if (r == nullptr)
    return {};
  const std::uint32_t unit = r->unit_of(address);
  return {&r->tags[unit], &r->descriptors[unit], r->unit_address(unit)};
}

grant allocate_units(std::size_t units, std::uint32_t tag, void* descriptor,
                     std::size_t alignment) {
  lock_guard guard(regions_lock);
  region* where = nullptr;
  run_grant taken{};
  if (!take_units(units, divide_up(alignment, unit_bytes), where, taken))
    return {};
  tag_units(*where, taken.first, tag == tag_large ? 1 : units, tag, descriptor);
  note_dirty_bytes();
  return {where->unit_address(taken.first), taken.zeroed};
}

void retag_units(char* begin, std::size_t units, std::uint32_t tag, void* descriptor) {
  region* const r = find_region(begin);
  tag_units(*r, r->unit_of(begin), units, tag, descriptor);
}

void release_units(char* begin, std::size_t units) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->unit_of(begin);
  METE_DEBUG_CHECK(r->units.entry(first).state == run_state::used &&
                   r->units.entry(first).length == units);
  tag_units(*r, first, units, tag_none, nullptr);
  r->units.release({first, static_cast<std::uint32_t>(units)}, os::coarse_now_ms());
  note_dirty_bytes();
}

std::size_t large_run_bytes(char* begin) {
  region* const r = find_region(begin);
  return std::size_t{r->units.entry(r->unit_of(begin)).length} * unit_bytes;
}

bool release_large_run(char* begin) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->unit_of(begin);
  if (begin != r->unit_address(first) ||
      r->tags[first].load(std::memory_order_relaxed) != tag_large)
    return false;
  const std::uint32_t count = r->units.entry(first).length;
  tag_units(*r, first, 1, tag_none, nullptr);
  r->units.release({first, count}, os::coarse_now_ms());
  note_dirty_bytes();
  return true;
}

region_usage regions_in_use() {
  lock_guard guard(regions_lock);
  region_usage usage{};
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed); ++index) {
    const region& r = regions[index];
    usage.regions += r.base() != nullptr;
    usage.reserved_bytes += r.reserved_units * unit_bytes;
    usage.committed_bytes += r.committed_units.load(std::memory_order_relaxed) * unit_bytes;
    usage.free_bytes += r.units.free_granules() * unit_bytes;
    usage.free_bytes += r.pages.free_granules() << os::page_shift;
    usage.table_bytes += r.table_bytes;
  }
  usage.dirty_bytes = dirty_bytes();
  return usage;
}

void check_region_invariants() {
  lock_guard guard(regions_lock);
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed); ++index) {
    const region& r = regions[index];
    const auto units =
        static_cast<std::uint32_t>(r.committed_units.load(std::memory_order_relaxed));
    r.units.check_invariants(0, units);
    for (std::uint32_t unit = 0; unit < units;) {
      std::uint32_t end = unit;
      while (end < units && r.tags[end].load(std::memory_order_relaxed) == tag_medium)
        ++end;
      r.pages.check_invariants(unit * pages_per_unit(), end * pages_per_unit());
      unit = end + 1;
    }
  }
}

bool reset_regions_lock_in_child() {
  return regions_lock.reset_in_child();
}

} // namespace mete::page
