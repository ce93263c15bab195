// The region: one contiguous reservation of address space, cut into units of 64 KiB.
//
// Each unit has a tag (32 bits: owner and size class, or what else it is used for) and a pointer to
// the descriptor of what lives in it. Both arrays, the run entries and the dirty bits are reserved
// in one piece with the region, behind it, and committed together with it, in large steps at the
// frontier: few mappings, no commit charge for what is not used, and every table is a flat array.
// Behind them lies a part of the metadata arena. Guards (growth.cpp) keep what overflows a block
// away from all of it.
//
//   | units ........................ | tags | descriptors | unit entries | unit dirty bits |
//                                    | page entries | page dirty bits | metadata |
//
// The first region is sized by the machine so that it is the only one. Where a limit on address
// space refuses that, a smaller one is taken and more are added when it is full; `primary` is then
// merely the one that the fast path of free() knows.
//
// Medium objects live in units tagged `medium`, which a second run allocator divides by pages.
//
// Thread safety: everything here takes the pages lock, except tags and descriptors of units that
// the caller owns, which are plain relaxed atomics: whoever reads one got a block of that unit
// from somewhere, and that hand-over orders the accesses.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mete::page {

// A tag's low bits for units that are not a heap's slabs. A slab's tag has an owner, in bits 10 and
// up, that is not 0 (heap/size_class.hpp says what the low bits are then).
inline constexpr std::uint32_t tag_none = 0;
inline constexpr std::uint32_t tag_medium = 1;
inline constexpr std::uint32_t tag_large = 2; // the first unit of a large object; others: none
inline constexpr unsigned tag_owner_shift = 10;

// What the fast path needs to know, together in one cache line, read-mostly.
//
// A bad pointer can be freed at the very moment when another thread commits the first units. So the
// number of units is read first, by an acquire that pairs with the release in commit_units(): who
// sees any sees the base and the tables, too. (A good pointer needs no such order: whoever handed
// it over had seen them.) The base is kept negative because to load and add it takes no more
// instructions on x86-64 than to subtract a plain variable.
struct alignas(cache_line_bytes) primary_view {
  std::atomic<std::uintptr_t> minus_base{0};
  std::atomic<std::uintptr_t> committed_units{0};
  std::atomic<std::uint32_t>* tags = nullptr;
  std::atomic<void*>* descriptors = nullptr;
  std::uintptr_t base() const { return -minus_base.load(std::memory_order_relaxed); }

  // True if the address is in the first region, in this unit.
  bool find(const void* address, std::uintptr_t& unit) const {
    std::uintptr_t minus = 0;
    return find(address, unit, minus_base, minus);
  }
  // The same with another base, for a function that has one of its own, of which `minus` gets what
  // it is if the address is found.
  bool find(const void* address, std::uintptr_t& unit,
            const std::atomic<std::uintptr_t>& minus_another, std::uintptr_t& minus) const {
#if defined(__x86_64__) && !defined(METE_SANITIZER)
    // In one instruction less. Loads keep their order; and an address without base is in no unit.
    minus = minus_another.load(std::memory_order_relaxed);
    unit = (minus + reinterpret_cast<std::uintptr_t>(address)) >> unit_shift;
    bool below = false;
    asm volatile("cmpq %2, %1" : "=@ccb"(below) : "r"(unit), "m"(committed_units) : "memory");
    return below;
#else
    const std::uintptr_t units = committed_units.load(std::memory_order_acquire);
    minus = minus_another.load(std::memory_order_relaxed);
    unit = (minus + reinterpret_cast<std::uintptr_t>(address)) >> unit_shift;
    return unit < units;
#endif
  }
};
[[gnu::visibility("hidden")]] extern constinit primary_view primary;

// Where an address lies; `tag` is null if it is in no region.
struct location {
  std::atomic<std::uint32_t>* tag = nullptr;
  std::atomic<void*>* descriptor = nullptr;
  char* unit_begin = nullptr;
};
location locate_beyond_primary(const void* address);

inline location locate(const void* address) {
  std::uintptr_t unit = 0;
  if (primary.find(address, unit)) [[likely]]
    return {&primary.tags[unit], &primary.descriptors[unit],
            reinterpret_cast<char*>(primary.base() + (unit << unit_shift))};
  return locate_beyond_primary(address);
}

struct grant {
  char* begin = nullptr; // nullptr: out of memory
  bool zeroed = false;
};

// `units` contiguous units, tagged `tag` (large: only the first), with the descriptor, aligned to
// at least `alignment` bytes, a power of two. O(bins), and O(units) but for large.
grant allocate_units(std::size_t units, std::uint32_t tag, void* descriptor,
                     std::size_t alignment = 1);
// Sets what allocate_units() set, for units the caller owns.
void retag_units(char* begin, std::size_t units, std::uint32_t tag, void* descriptor);
// The run goes back; its tags become tag_none. REQUIRES: a whole run.
void release_units(char* begin, std::size_t units);

// Large objects inside a region: a run of units. Bytes are rounded up to whole pages.
std::size_t large_run_bytes(char* begin);
// False if no live large run begins there: the caller reports it.
[[nodiscard]] bool release_large_run(char* begin);
// In place, growing (also into pages that are free, or beyond the frontier) or shrinking; false if
// the space behind is taken. REQUIRES: a live large run.
bool resize_large_run(char* begin, std::size_t bytes);
// The same as release_large_run(), of memory that is known to be zero.
void release_empty_large_run(char* begin);

// A medium object: whole pages. REQUIRES: alignment is a power of two.
grant allocate_pages(std::size_t bytes, std::size_t alignment);
// What lives at `begin`, a medium object's address: its size in bytes, or 0 if no live medium
// object begins there.
std::size_t medium_bytes(const char* begin);
// False if no live medium object begins there: the caller reports it.
[[nodiscard]] bool release_pages(char* begin);
// In place, growing (also into units that are free, or beyond the frontier) or shrinking; false if
// the space behind is taken. REQUIRES: a live medium object.
bool resize_pages(char* begin, std::size_t bytes);
// The same as release_pages(), of memory that is known to be zero.
void release_empty_pages(char* begin);

// A pointer that the owner of a live medium object may keep with it; nullptr at first.
void* medium_attachment(const char* begin);
void attach_to_medium(const char* begin, void* attachment);

// Reserves the first region and commits its beginnings, if there is none yet: for a process that
// makes mappings only, so that the region is there when the kernel refuses more of them.
void prepare_first_region();

// Zeroed memory for the metadata arena, out of a region's reservation; what is asked for next
// mostly follows it. Never given back. nullptr if there is no room, or the OS refuses.
char* extend_metadata(std::size_t bytes);

struct region_usage {
  std::size_t reserved_bytes;
  std::size_t committed_bytes;
  std::size_t free_bytes;  // in free runs
  std::size_t dirty_bytes; // of those, not purged
  std::size_t table_bytes; // committed for tags, entries and bits
  unsigned regions;
};
region_usage regions_in_use();

// Bytes that may hold memory: in use or dirty, less what is purged in slabs. Racy, too.
std::size_t resident_bytes();

// Bytes more (or fewer) are purged inside of runs that are in use.
void note_purged_in_slabs(std::ptrdiff_t more);

// Bytes in free runs that may hold memory. A racy read, for decisions that need no exact figure.
std::size_t dirty_bytes();
std::size_t dirty_unit_bytes(); // of that, in runs of units

// Purges free runs that were freed `wait_ms` ago or earlier, oldest first, until the budget is
// spent, in which a call counts as at least 32 KiB; the calls to the OS are made without the lock.
// Returns the bytes purged.
std::size_t purge_runs_idle_for(std::uint32_t wait_ms, std::size_t budget);
// The oldest free runs, whatever their age, until at most `limit` dirty bytes are left.
std::size_t purge_runs_above(std::size_t limit, std::size_t budget = SIZE_MAX);

// Gives the address space of regions in which nothing lives back to the OS, for a process that is
// at its limit. Returns its bytes.
std::size_t release_empty_regions();

void check_region_invariants();

// In the child of a fork: true if another thread held the lock (base/lock.hpp, reset_in_child()).
bool reset_regions_lock_in_child();

} // namespace mete::page
