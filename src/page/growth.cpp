// Reserving regions, committing them at their frontiers, and giving them back.
//
// A reservation has the units, the tables beside them and a part of the metadata arena, with guards
// in between, so that whatever runs out of a block meets a fault before it meets what this library
// knows:
//
//   | guard | units | guard | tables | guard | metadata | guard |
//
// The units, each table and the metadata have a frontier of their own: what lies beyond is reserved
// only.
//
// SPDX-License-Identifier: MIT
#include "base/bits.hpp"
#include "base/options.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"
#include "page/region_state.hpp"

#include <algorithm>

namespace mete::page {
namespace {

constexpr std::size_t min_region_bytes = 2 * MiB;

// Of a region's units, the part that descriptors, heaps and cache arrays may need: those of the
// smallest blocks are 1.7 %.
constexpr std::size_t metadata_part = 32;
constexpr std::size_t min_metadata_bytes = 256 * KiB;

// --- What lies where --------------------------------------------------------------------------

enum table_index { tags, descriptors, unit_entries, unit_dirty, page_entries, page_dirty };
constexpr unsigned table_count = 6;

std::size_t bits_per_unit(unsigned table) {
  const std::size_t pages = pages_per_unit();
  switch (table) {
  case tags:
    return 8 * sizeof(std::atomic<std::uint32_t>);
  case descriptors:
    return 8 * sizeof(std::atomic<void*>);
  case unit_entries:
    return 8 * sizeof(run_entry);
  case page_entries:
    return 8 * sizeof(run_entry) * pages;
  case unit_dirty:
    return 1;
  default:
    return pages;
  }
}

// With a page of slack: bitmaps are read by words, entries looked at one past the end.
std::size_t table_bytes(unsigned table, std::size_t units) {
  return align_up(divide_up(units * bits_per_unit(table), 8), os::page_bytes) + os::page_bytes;
}

// All offsets are from the first unit on.
struct layout {
  std::size_t table[table_count];
  std::size_t metadata;
  std::size_t metadata_bytes;
  std::size_t front; // the guard in front
  std::size_t bytes; // behind it

  explicit layout(std::size_t units) {
    std::size_t at = units * unit_bytes + os::guard_bytes;
    for (unsigned index = 0; index < table_count; ++index) {
      table[index] = at;
      at += table_bytes(index, units);
    }
    metadata = at + os::guard_bytes;
    metadata_bytes = align_up(units * unit_bytes / metadata_part, min_metadata_bytes);
    bytes = metadata + metadata_bytes + os::guard_bytes;
    front = os::guard_bytes;
    // A usual region takes whole huge pages: from Linux 6.7 on such a reservation is placed at one,
    // so that the first attempt to get it aligned succeeds. Small ones are for processes that
    // cannot spare the address space.
    if (bytes >= 1 * GiB) {
      bytes = align_up(bytes, huge_page_bytes);
      front = huge_page_bytes;
    }
  }

  // Where a table ends and something else begins.
  std::size_t end_of(unsigned index) const {
    return index + 1 < table_count ? table[index + 1] : metadata;
  }
};

// --- Reserving --------------------------------------------------------------------------------

// A power of two that holds several times what the machine can, so that there is only one region;
// under a limit on address space a modest part of what is left, because the program wants some too.
std::size_t preferred_region_bytes() {
  if (const auto wanted = static_cast<std::size_t>(option(options.region_bytes)); wanted != 0)
    return align_up(wanted, min_region_bytes);
  std::size_t bytes = std::bit_ceil(os::physical_memory_bytes()) * 2;
  bytes = bytes < 16 * GiB ? 16 * GiB : bytes > max_region_bytes ? max_region_bytes : bytes;
  const std::size_t left = os::address_space_left_bytes();
  if (left != SIZE_MAX)
    bytes = left / 16 < bytes ? align_down(left / 16, min_region_bytes) : bytes;
  return bytes < min_region_bytes ? min_region_bytes : bytes;
}

bool reserve_region(region& r, std::size_t bytes) {
  const std::size_t units = bytes / unit_bytes;
  const layout parts(units);
  char* const base = os::reserve(parts.bytes, huge_page_bytes, parts.front);
  if (base == nullptr)
    return false;
  r.base_address.store(base, std::memory_order_release);
  r.reserved_units = units;
  r.most_committed_units = 0;
  r.metadata_bytes = 0;
  const auto at = [&](unsigned index) { return base + parts.table[index]; };
  r.tags = reinterpret_cast<std::atomic<std::uint32_t>*>(at(tags));
  r.descriptors = reinterpret_cast<std::atomic<void*>*>(at(descriptors));
  r.units.initialise(reinterpret_cast<run_entry*>(at(unit_entries)),
                     reinterpret_cast<std::uint64_t*>(at(unit_dirty)), 0,
                     reinterpret_cast<std::uintptr_t>(base) >> unit_shift);
  r.pages.initialise(reinterpret_cast<run_entry*>(at(page_entries)),
                     reinterpret_cast<std::uint64_t*>(at(page_dirty)),
                     static_cast<std::uint32_t>(units) * pages_per_unit(),
                     reinterpret_cast<std::uintptr_t>(base) >> os::page_shift);
  return true;
}

// For all units, so that what is committed later does not differ from what was before.
void advise(const region& r) {
  if (const long long advice = option(options.huge_pages); advice != 0)
    os::advise_huge_pages(r.base(), r.reserved_units * unit_bytes,
                          advice == 1 ? os::huge_page_advice::ask : os::huge_page_advice::refuse);
}

// The first slot without a region; max_regions if there is none.
unsigned unused_slot() {
  unsigned index = 0;
  while (index < max_regions && regions[index].base() != nullptr)
    ++index;
  return index;
}

// --- Committing -------------------------------------------------------------------------------

// What every process commits at its start, in as few calls as can be. The kernel does not hold
// that against RLIMIT_DATA, so it must not be much.
constexpr std::size_t most_at_first = 1 * MiB;

// Commits [from, to) of what begins at `begin` and is reserved up to `end`.
bool commit_part(char* begin, std::size_t from, std::size_t to, std::size_t end) {
  return from == 0 && to <= most_at_first ? os::commit_first(begin, to)
                                          : os::commit(begin + from, to - from, end - to);
}

// Moves the frontier by `more` units. A failure leaves everything usable as it was; what was
// committed of a table by then is committed once more at the next try, which is harmless.
bool commit_units(region& r, std::size_t more) {
  const std::size_t from = r.committed_units.load(std::memory_order_relaxed);
  const std::size_t to = from + more;
  const layout parts(r.reserved_units);
  std::size_t all_tables = 0;
  for (unsigned index = 0; index < table_count; ++index) {
    const std::size_t committed = from == 0 ? 0 : table_bytes(index, from);
    const std::size_t wanted = table_bytes(index, to);
    if (wanted > committed && !commit_part(r.base() + parts.table[index], committed, wanted,
                                           parts.end_of(index) - parts.table[index]))
      return false;
    all_tables += wanted;
  }
  if (!commit_part(r.base(), from * unit_bytes, to * unit_bytes, parts.table[0]))
    return false;
  if (from == 0)
    advise(r); // once more: a fresh mapping has replaced what was advised
  r.table_bytes = all_tables;
  r.committed_units.store(to, std::memory_order_release);
  if (&r == &regions[0])
    primary.committed_units.store(to, std::memory_order_release); // pairs with primary_view::find()
  r.most_committed_units = std::max(r.most_committed_units, to);
  r.units.set_granules(static_cast<std::uint32_t>(to));
  // Clean memory has no age; asking for the time would map a page of the C library in every
  // process.
  r.units.insert({static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(more)}, 0);
  return true;
}

// REQUIRES: the lock.
void move_frontier_back(region& r) {
  // A small process keeps what it has; so does one that still uses most of it.
  constexpr std::uint32_t kept_units = 16;
  const auto frontier =
      static_cast<std::uint32_t>(r.committed_units.load(std::memory_order_relaxed));
  if (frontier == 0 || r.units.entry(frontier - 1).state != run_state::free)
    return;
  const std::uint32_t length = r.units.entry(frontier - 1).length;
  const std::uint32_t used = frontier - length;
  if (length <= 4 * kept_units + used / 4 || r.units.entry(used).dirty != 0)
    return;
  const std::uint32_t to = used + kept_units + used / 8;
  const span part{to, frontier - to};
  if (!os::uncommit(r.unit_address(to), part.count * unit_bytes))
    return;
  r.units.remove(used, part);
  r.units.forget(part, part.count);
  r.units.set_granules(to);
  // Nothing lives there, so nobody has an address of it; the tables stay readable anyway.
  r.committed_units.store(to, std::memory_order_release);
  if (&r == &regions[0])
    primary.committed_units.store(to, std::memory_order_release);
}

} // namespace

region* add_region(std::size_t needed_units) {
  const unsigned index = unused_slot();
  if (index == max_regions)
    return nullptr;
  const std::size_t needed = align_up(needed_units * unit_bytes, min_region_bytes);
  std::size_t bytes = preferred_region_bytes();
  bytes = bytes < needed ? needed : bytes;
  region& r = regions[index];
  while (!reserve_region(r, bytes)) {
    if (bytes == needed || bytes <= min_region_bytes)
      return nullptr;
    bytes = align_down(bytes / 2, min_region_bytes);
    bytes = bytes < needed ? needed : bytes;
  }
  advise(r);
  if (index == region_count.load(std::memory_order_relaxed))
    region_count.store(index + 1, std::memory_order_release);
  if (index == 0) {
    primary.minus_base.store(-reinterpret_cast<std::uintptr_t>(r.base()),
                             std::memory_order_relaxed);
    primary.tags = r.tags;
    primary.descriptors = r.descriptors;
  }
  return &r;
}

bool grow(region& r, std::size_t needed) {
  const std::size_t committed = r.committed_units.load(std::memory_order_relaxed);
  const std::size_t left = r.reserved_units - committed;
  if (left < needed)
    return false;
  std::size_t step = std::max(committed / 8, (r.most_committed_units - committed) / 2);
  step = step < 16 ? 16 : step > 1024 ? 1024 : step;
  step = step < needed ? needed : step;
  step = step > left ? left : step;
  return commit_units(r, step) || (step > needed && commit_units(r, needed));
}

void move_frontiers_back() {
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed); ++index)
    if (regions[index].base() != nullptr)
      move_frontier_back(regions[index]);
  note_dirty_bytes();
}

void prepare_first_region() {
  lock_guard guard(regions_lock);
  if (region_count.load(std::memory_order_relaxed) != 0)
    return;
  if (region* const first = add_region(1); first != nullptr)
    (void)grow(*first, 1);
}

char* extend_metadata(std::size_t bytes) {
  lock_guard guard(regions_lock);
  if (region_count.load(std::memory_order_relaxed) == 0 && add_region(1) == nullptr)
    return nullptr;
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed); ++index) {
    region& r = regions[index];
    if (r.base() == nullptr)
      continue;
    const layout parts(r.reserved_units);
    if (parts.metadata_bytes - r.metadata_bytes < bytes)
      continue;
    char* const begin = r.base() + parts.metadata;
    if (!commit_part(begin, r.metadata_bytes, r.metadata_bytes + bytes,
                     parts.bytes - parts.metadata))
      continue;
    r.metadata_bytes += bytes;
    return begin + r.metadata_bytes - bytes;
  }
  return nullptr;
}

std::size_t release_empty_regions() {
  lock_guard guard(regions_lock);
  std::size_t bytes = 0;
  // Not the first: the fast path of free() knows it.
  for (unsigned index = 1; index < region_count.load(std::memory_order_relaxed); ++index) {
    region& r = regions[index];
    const std::size_t committed = r.committed_units.load(std::memory_order_relaxed);
    if (r.base() == nullptr || r.units.free_granules() != committed || r.metadata_bytes != 0)
      continue;
    char* const begin = r.base();
    const layout parts(r.reserved_units);
    r.committed_units.store(0, std::memory_order_release);
    r.base_address.store(nullptr, std::memory_order_release);
    if (!os::release(begin - parts.front, parts.front + parts.bytes)) { // too many mappings
      r.base_address.store(begin, std::memory_order_release);
      r.committed_units.store(committed, std::memory_order_release);
      continue;
    }
    r.divided_end = 0;
    r.units.initialise(nullptr, nullptr, 0);
    r.pages.initialise(nullptr, nullptr, 0);
    r.table_bytes = 0;
    r.reserved_units = 0;
    bytes += parts.front + parts.bytes;
  }
  note_dirty_bytes();
  return bytes;
}

} // namespace mete::page
