// Private to page/: the regions' state and its lock, shared by the files that reserve and commit
// (growth.cpp), hand out units (region.cpp), divide them into pages (medium.cpp), resize
// (resize.cpp) and purge (purge.cpp).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/lock.hpp"
#include "os/memory.hpp"
#include "page/region.hpp"
#include "page/runs.hpp"

namespace mete::page {

struct region {
  // Read without the lock by whoever looks an address up; nullptr while the slot is unused.
  std::atomic<char*> base_address{nullptr};
  std::size_t reserved_units = 0;
  std::atomic<std::size_t> committed_units{0};
  std::size_t most_committed_units = 0; // ever
  std::atomic<std::uint32_t>* tags = nullptr;
  std::atomic<void*>* descriptors = nullptr;
  std::size_t table_bytes = 0;    // committed
  std::size_t metadata_bytes = 0; // committed of its part of the metadata arena
  run_allocator units;
  run_allocator pages;           // of the units tagged `medium`
  std::uint32_t divided_end = 0; // behind the last unit that ever was tagged so

  char* base() const { return base_address.load(std::memory_order_relaxed); }

  // Slots are used again after a region was given back (first committed_units becomes 0, then the
  // base changes), so the two words are read as one: the base before and after must agree.
  bool contains(const void* address) const {
    char* const begin = base_address.load(std::memory_order_acquire);
    const std::size_t bytes = committed_units.load(std::memory_order_acquire) * unit_bytes;
    return reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(begin) <
               bytes &&
           base_address.load(std::memory_order_relaxed) == begin;
  }
  std::uint32_t unit_of(const void* address) const {
    return static_cast<std::uint32_t>(offset_of(address) >> unit_shift);
  }
  std::uint32_t page_of(const void* address) const {
    return static_cast<std::uint32_t>(offset_of(address) >> os::page_shift);
  }
  char* unit_address(std::size_t unit) const { return base() + (unit << unit_shift); }
  char* page_address(std::size_t page) const { return base() + (page << os::page_shift); }

private:
  std::size_t offset_of(const void* address) const {
    return static_cast<std::size_t>(static_cast<const char*>(address) - base());
  }
};

inline constexpr unsigned max_regions = 64;
inline constexpr std::size_t max_region_bytes = 256 * GiB;
extern constinit ranked_lock regions_lock;
extern constinit region regions[max_regions];
extern constinit std::atomic<unsigned> region_count;

inline std::uint32_t pages_per_unit() {
  return static_cast<std::uint32_t>(unit_bytes >> os::page_shift);
}

// Null if `address` is in no region.
region* find_region(const void* address);

// All of the following REQUIRE the lock.

// Reserves one more region, in which so many units fit; halves its size until the OS agrees.
// nullptr if it does not.
region* add_region(std::size_t needed_units);
// Commits at least `needed` units, preferably more: an eighth of what there is, or half of what
// there was once, 1 to 64 MiB.
bool grow(region& r, std::size_t needed);
// Moves the frontiers back where much before them is free and clean: so it is not in core dumps.
void move_frontiers_back();

// `alignment` of the first one's address, in units.
bool take_units(std::size_t units, std::size_t alignment, region*& where, run_grant& taken);
void tag_units(region& where, std::uint32_t first, std::size_t units, std::uint32_t tag,
               void* descriptor);
// Units that were taken from the unit level become free pages; `zeroed`: they hold no memory.
void adopt_units(region& where, span units, bool zeroed);
// Moves units of free pages, of which some are dirty, to the unit level; false if there are not
// that many together.
bool return_dirty_units(region& where, std::uint32_t units);
// Those that a part of a free run of pages covers. Returns the free run of units that came of it;
// of no units if the part covers none.
span return_whole_units(region& where, std::uint32_t run_first, span part);
// After any change to what is free: keeps the racy total of dirty_bytes().
void note_dirty_bytes();

} // namespace mete::page
