// SPDX-License-Identifier: MIT
#include "page/region.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/options.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"
#include "page/region_state.hpp"

namespace mete::page {

constinit primary_view primary;
constinit ranked_lock regions_lock{lock_rank::pages};
constinit region regions[max_regions];
constinit std::atomic<unsigned> region_count{0};

namespace {

constexpr std::size_t max_region_bytes = 256 * GiB;
constexpr std::size_t min_region_bytes = 2 * MiB;

// --- The tables beside a region ---------------------------------------------------------------

enum table_index { tags, descriptors, unit_entries, unit_dirty, page_entries, page_dirty };
constexpr unsigned table_count = 6;

struct table {
  char* begin;
  std::size_t bits_per_unit;

  // With a page of slack: bitmaps are read by words, entries looked at one past the end.
  std::size_t bytes(std::size_t units) const {
    return align_up(divide_up(units * bits_per_unit, 8), os::page_bytes) + os::page_bytes;
  }
};

struct table_set {
  table tables[table_count];

  table_set() {
    const std::size_t pages = pages_per_unit();
    tables[tags].bits_per_unit = 8 * sizeof(std::atomic<std::uint32_t>);
    tables[descriptors].bits_per_unit = 8 * sizeof(std::atomic<void*>);
    tables[unit_entries].bits_per_unit = 8 * sizeof(run_entry);
    tables[unit_dirty].bits_per_unit = 1;
    tables[page_entries].bits_per_unit = 8 * sizeof(run_entry) * pages;
    tables[page_dirty].bits_per_unit = pages;
  }

  // One behind the other from `begin` on.
  table_set(char* begin, std::size_t reserved_units) : table_set() {
    for (table& each : tables) {
      each.begin = begin;
      begin += each.bytes(reserved_units);
    }
  }

  std::size_t bytes(std::size_t units) const {
    std::size_t sum = 0;
    for (const table& each : tables)
      sum += each.bytes(units);
    return sum;
  }
  template <class Element>
  Element* at(table_index index) const {
    return reinterpret_cast<Element*>(tables[index].begin);
  }
};

table_set tables_of(const region& r) {
  return {r.base() + r.reserved_units * unit_bytes, r.reserved_units};
}

// --- Reserving and committing -----------------------------------------------------------------

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

// What a region takes of the address space. A usual one takes whole huge pages: from Linux 6.7 on
// such a reservation is placed at one, so that the first attempt to get it aligned succeeds. Small
// ones are for processes that cannot spare the address space.
std::size_t reserved_bytes(std::size_t units) {
  const std::size_t bytes = units * unit_bytes + table_set().bytes(units);
  return bytes >= 1 * GiB ? align_up(bytes, huge_page_bytes) : bytes;
}

bool reserve_region(region& r, std::size_t bytes) {
  const std::size_t units = bytes / unit_bytes;
  char* const base = os::reserve(reserved_bytes(units), huge_page_bytes);
  if (base == nullptr)
    return false;
  r.base_address.store(base, std::memory_order_release);
  r.reserved_units = units;
  const table_set beside = tables_of(r);
  r.tags = beside.at<std::atomic<std::uint32_t>>(tags);
  r.descriptors = beside.at<std::atomic<void*>>(descriptors);
  r.units.initialise(beside.at<run_entry>(unit_entries), beside.at<std::uint64_t>(unit_dirty),
                     static_cast<std::uint32_t>(units));
  r.pages.initialise(beside.at<run_entry>(page_entries), beside.at<std::uint64_t>(page_dirty),
                     static_cast<std::uint32_t>(units) * pages_per_unit());
  return true;
}

// The first slot without a region; max_regions if there is none.
unsigned unused_slot() {
  unsigned index = 0;
  while (index < max_regions && regions[index].base() != nullptr)
    ++index;
  return index;
}

// Reserves one more region; halves its size until the OS agrees. nullptr if it does not.
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
  if (const long long advice = option(options.huge_pages); advice != 0)
    os::advise_huge_pages(r.base(), r.reserved_units * unit_bytes,
                          advice == 1 ? os::huge_page_advice::ask : os::huge_page_advice::refuse);
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

// Moves the frontier by `more` units. A failure leaves everything usable as it was; what was
// committed of a table by then is committed once more at the next try, which is harmless.
bool commit_units(region& r, std::size_t more) {
  const std::size_t from = r.committed_units.load(std::memory_order_relaxed);
  const std::size_t to = from + more;
  const table_set beside = tables_of(r);
  for (const table& each : beside.tables) {
    const std::size_t committed = from == 0 ? 0 : each.bytes(from);
    const std::size_t wanted = each.bytes(to);
    if (wanted > committed && !os::commit(each.begin + committed, wanted - committed))
      return false;
  }
  if (!os::commit(r.unit_address(from), more * unit_bytes))
    return false;
  r.table_bytes = beside.bytes(to);
  r.committed_units.store(to, std::memory_order_release);
  if (&r == &regions[0])
    primary.committed_units.store(to, std::memory_order_release); // pairs with primary_view::find()
  // Clean memory has no age; asking for the time would map a page of the C library in every
  // process.
  r.units.insert({static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(more)}, 0);
  return true;
}

// Commits at least `needed` units, preferably more: an eighth of what there is, 1 to 64 MiB.
bool grow(region& r, std::size_t needed) {
  const std::size_t committed = r.committed_units.load(std::memory_order_relaxed);
  const std::size_t left = r.reserved_units - committed;
  if (left < needed)
    return false;
  std::size_t step = committed / 8;
  step = step < 16 ? 16 : step > 1024 ? 1024 : step;
  step = step < needed ? needed : step;
  step = step > left ? left : step;
  return commit_units(r, step) || (step > needed && commit_units(r, needed));
}

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
bool take_free_units(std::uint32_t units, region*& where, run_grant& taken) {
  return in_some_region(where,
                        [&](region& r) { return r.units.allocate_dirty(units, 1, taken); }) ||
         in_some_region(where,
                        [&](region& r) {
                          return return_dirty_units(r, units) && r.units.allocate(units, 1, taken);
                        }) ||
         in_some_region(where, [&](region& r) { return r.units.allocate(units, 1, taken); });
}

} // namespace

bool take_units(std::size_t units, region*& where, run_grant& taken) {
  if (units >= max_region_bytes / unit_bytes)
    return false;
  const auto count = static_cast<std::uint32_t>(units);
  if (take_free_units(count, where, taken))
    return true;
  bool grown = false;
  for (unsigned index = 0; index < region_count.load(std::memory_order_relaxed) && !grown; ++index)
    grown = grow(regions[index], units);
  if (!grown) {
    region* const added = add_region(units);
    if (added == nullptr || !grow(*added, units))
      return false;
  }
  return take_free_units(count, where, taken);
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

grant allocate_units(std::size_t units, std::uint32_t tag, void* descriptor) {
  lock_guard guard(regions_lock);
  region* where = nullptr;
  run_grant taken{};
  if (!take_units(units, where, taken))
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

bool resize_large_run(char* begin, std::size_t bytes) {
  lock_guard guard(regions_lock);
  region* const r = find_region(begin);
  const std::uint32_t first = r->unit_of(begin);
  const std::uint32_t count = r->units.entry(first).length;
  const auto wanted = static_cast<std::uint32_t>(divide_up(bytes, unit_bytes));
  if (wanted > count) {
    bool zeroed = false;
    if (!r->units.extend(first, count, wanted - count, zeroed))
      return false;
  } else if (wanted < count) {
    r->units.shrink(first, wanted);
    r->units.release({first + wanted, count - wanted}, os::coarse_now_ms());
  }
  note_dirty_bytes();
  return true;
}

std::size_t release_empty_regions() {
  lock_guard guard(regions_lock);
  std::size_t bytes = 0;
  // Not the first: the fast path of free() knows it.
  for (unsigned index = 1; index < region_count.load(std::memory_order_relaxed); ++index) {
    region& r = regions[index];
    const std::size_t committed = r.committed_units.load(std::memory_order_relaxed);
    if (r.base() == nullptr || r.units.free_granules() != committed)
      continue;
    char* const begin = r.base();
    const std::size_t reserved = reserved_bytes(r.reserved_units);
    r.committed_units.store(0, std::memory_order_release);
    r.base_address.store(nullptr, std::memory_order_release);
    if (!os::release(begin, reserved)) { // one mapping more than the process may have
      r.base_address.store(begin, std::memory_order_release);
      r.committed_units.store(committed, std::memory_order_release);
      continue;
    }
    r.units.initialise(nullptr, nullptr, 0);
    r.pages.initialise(nullptr, nullptr, 0);
    r.table_bytes = 0;
    r.reserved_units = 0;
    bytes += reserved;
  }
  note_dirty_bytes();
  return bytes;
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

void lock_regions_for_fork() {
  regions_lock.lock();
}

void unlock_regions_after_fork(bool in_child) {
  if (in_child)
    regions_lock.reset_after_fork();
  else
    regions_lock.unlock();
}

} // namespace mete::page
