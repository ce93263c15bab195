// A slab: one or more units cut into blocks of one size class, and the descriptor that says which
// are free. The descriptor lies elsewhere; a free block holds nothing but a hint (freed_mark.hpp).
//
//   descriptor: | header (64 bytes) | free bits | remote bits |
//
// Blocks from `frontier` on were never handed out in this life of the slab; they have no bits set,
// and if the slab's units came clean from the OS their memory is untouched and reads as zero.
//
// Invariants (s is a slab, c its class):
//   free_count = number of free bits set
//   every free bit is below frontier <= c.capacity
//   blocks handed out = frontier - free_count - bits in `remote`
//   purged pages contain only blocks that are free, or claimed for the purge that is under way
//   free blocks that were handed out bear the mark (heap/freed_mark.hpp), but for those that begin
//   on a purged page
//
// Not thread-safe but for the remote part (heap/remote_free.hpp); the heap's holder calls the rest.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/check.hpp"
#include "heap/remote_free.hpp"
#include "heap/size_class.hpp"
#include "os/memory.hpp"

#include <atomic>
#include <bit>
#include <cstdint>

namespace mete::heap {

// Which of its heap's lists a slab is on. Partial slabs are kept apart by how much of them is free,
// in quarters, because the fullest are used first: so the others get a chance to become empty. The
// last list is for those that were found to have free blocks on purged pages only.
enum class slab_place : std::uint8_t { current, fresh, full, partial };
inline constexpr unsigned partial_quarters = 4;
inline constexpr unsigned purged_list = partial_quarters;
inline constexpr unsigned partial_lists = partial_quarters + 1;

// Bits that their holder alone changes, while others read them (heap/suspect.hpp).
class published_bits {
public:
  // NOLINTNEXTLINE(google-explicit-constructor): to stand where plain bits stood is its purpose.
  operator std::uint64_t() const { return bits_.load(std::memory_order_relaxed); }
  published_bits& operator=(std::uint64_t bits) {
    bits_.store(bits, std::memory_order_relaxed);
    return *this;
  }
  published_bits& operator|=(std::uint64_t bits) { return *this = *this | bits; }
  published_bits& operator&=(std::uint64_t bits) { return *this = *this & bits; }

private:
  std::atomic<std::uint64_t> bits_;
};

struct slab {
  remote_state<> remote;
  slab* next;
  slab* previous;
  char* begin;
  published_bits purged_pages;              // one per page of the OS
  std::atomic<std::uint16_t> frontier_word; // written by the holder, also read by freers
  std::uint16_t free_count;
  std::uint8_t class_index;
  slab_place place : 4;
  std::uint8_t quarter : 4; // of a partial slab: the list that it is on
  bool zero_beyond_frontier;
  std::uint8_t idle_rounds; // how often decay has looked and found it unchanged

  const size_class& info() const { return size_classes[class_index]; }
  published_bits* free_bits() { return reinterpret_cast<published_bits*>(this + 1); }
  std::atomic<std::uint64_t>* remote_bits() { return remote_bits(info()); }
  // For who knows the class without looking into the descriptor.
  std::atomic<std::uint64_t>* remote_bits(const size_class& known) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(free_bits() + known.words);
  }
  unsigned frontier() const { return frontier_word.load(std::memory_order_relaxed); }
  void set_frontier(unsigned block) {
    frontier_word.store(static_cast<std::uint16_t>(block), std::memory_order_relaxed);
  }
  // What of it may be resident: pages of which a block has been handed out, less purged ones.
  std::size_t footprint_bytes() const {
    const std::size_t pages =
        divide_up(std::size_t{frontier()} * info().block_bytes, os::page_bytes);
    const unsigned purged = purged_pages == 0 ? 0 : count_bits(purged_pages);
    return (pages - purged) << os::page_shift;
  }
  // Of the blocks that have not come home.
  std::ptrdiff_t live_bytes() const {
    return static_cast<std::ptrdiff_t>(frontier() - free_count) * info().block_bytes;
  }
  // Which quarter of the blocks its free ones fill, 0 to 3.
  unsigned free_quarter() const {
    const unsigned step = info().capacity / partial_quarters;
    return free_count < 2 * step ? free_count >= step : 2u + (free_count >= 3 * step);
  }
  // There are free blocks that touch no purged page. O(1) if none is purged, else O(words).
  bool has_unpurged() { return free_count != 0 && (purged_pages == 0 || any_unpurged()); }
  bool any_unpurged(); // of the free blocks; for has_unpurged()
  // Every block that was handed out has come home.
  bool empty() const { return free_count == frontier(); }
  char* block(unsigned index) const { return begin + std::size_t{index} * info().block_bytes; }
};
static_assert(sizeof(slab) == slab_header_bytes);
static_assert(sizeof(std::atomic<std::uint64_t>) == 8 && sizeof(published_bits) == 8);

// The slab that `block` lies in. REQUIRES: the tag of its unit has an owner.
inline slab& slab_of(const void* block) {
  return *static_cast<slab*>(page::locate(block).descriptor->load(std::memory_order_relaxed));
}

// No block begins at the address. `use` is what was done with it: "invalid free", ...
[[noreturn, gnu::cold]] void report_bad_block(const slab& s, const void* address, const char* use);
// The block is free. `use`: "double free", ...
[[noreturn, gnu::cold]] void report_freed_block(const slab& s, const void* address,
                                                const char* use);
[[noreturn, gnu::cold]] inline void report_double_free(const slab& s, const void* address) {
  report_freed_block(s, address, "double free");
}

// Whether a block that was handed out begins at `address`, and which. REQUIRES: `address` is inside
// the slab's units.
inline bool find_block(const slab& s, const void* address, unsigned& index) {
  const size_class& info = s.info();
  const auto offset = static_cast<std::uint64_t>(static_cast<const char*>(address) - s.begin);
  index = static_cast<unsigned>(offset * info.reciprocal >> 32);
  return std::uint64_t{index} * info.block_bytes == offset && index < s.frontier();
}

// The block that begins at `address`. A pointer into the middle of a block is the caller's error
// and reported as one. REQUIRES: `address` is inside the slab's units.
inline unsigned block_index(const slab& s, const void* address) {
  unsigned index = 0;
  if (!find_block(s, address, index)) [[unlikely]]
    report_bad_block(s, address, "invalid free");
  return index;
}

// Readies a zeroed descriptor for the units at `begin`.
void initialise_slab(slab& s, unsigned class_index, char* begin, bool zeroed);

// Moves up to `wanted` free blocks to `out`, in ascending order of address. Returns their number.
// `fresh_from` gets the index in `out` from which on blocks come from beyond the frontier.
// `avoid_purged`: none that touches a purged page.
unsigned take_blocks(slab& s, void** out, unsigned wanted, unsigned& fresh_from,
                     bool avoid_purged = false);

// Counts the blocks beyond the frontier among the free ones, as if they had been used.
void give_up_frontier(slab& s);

// Takes back the first blocks of a list, as many as lie in the slab one after the other. Reports a
// double free. Returns their number. REQUIRES: the first is one.
unsigned put_blocks(slab& s, void* const* blocks, unsigned count);

inline void put_block(slab& s, void* block) {
  put_blocks(s, &block, 1);
}

// Brings the remote frees home. REQUIRES: the caller drains the slab's pending list.
void collect_remote(slab& s);

// True if the slab may be released: empty, and no freer is on its way to it.
inline bool releasable(const slab& s) {
  return s.empty() && is_settled(s.remote);
}

// --- Purging inside a slab ------------------------------------------------------------------

// Pages all of whose blocks are free, and that are not purged yet; one bit per page.
std::uint64_t purgeable_pages(slab& s);

// Takes all free blocks that touch `pages` away, so that nobody uses them while they are purged
// without the heap being held; unclaim_pages() brings them back. From the claim on the pages count
// as purged, because their blocks may lose their marks at any moment; `purged` says of which that
// has become true.
void claim_pages(slab& s, std::uint64_t pages);
void unclaim_pages(slab& s, std::uint64_t pages, std::uint64_t purged);

void check_slab_invariants(slab& s);

} // namespace mete::heap
