// Runs: contiguous granules of an address range, handed out best fit, coalesced when freed.
//
// Two instances serve a region: one whose granule is the unit (slabs, large objects) and one whose
// granule is the page (medium objects). All state is out of line: an entry per granule, of which
// only a run's first and last are ever looked at, and a bit per granule that says whether it is
// dirty, that is, may hold memory although nothing lives in it.
//
// Free runs lie in bins by length, in two sets: runs with dirty pages are tried first, because
// reusing memory that is there is what keeps the peak low. Dirty runs are also in the order of
// their freeing, for decay; what is coalesced has the age of its part with the most dirty granules,
// so that a little traffic beside a large idle run does not keep it from decaying. Source: D.
// Knuth, TAOCP vol. 1, 2.5 (boundary tags, best fit); two sets after jemalloc's dirty and retained
// extents.
//
// Invariants, for the runs that cover the range:
//   no two neighbouring runs are both free (they would have been coalesced; a run that is being
//   purged counts as used meanwhile)
//   dirty_granules = number of dirty bits set = those inside free runs (a used granule's bit is 0)
//   an entry inside a run (neither its first nor its last) is never `used`
//   entry.dirty of a free run's first granule = number of its dirty bits set
//   a free run is in the dirty set and in the age list if and only if that is not 0
//
// Not thread-safe: the region's lock guards it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace mete::page {

inline constexpr std::uint32_t no_granule = UINT32_MAX;

// `used` marks the first granule of a live run and nothing else, so that it is proof of one: a
// run's last granule, and both ends of one that is being purged, are `occupied`.
enum class run_state : std::uint32_t { none = 0, free = 1, used = 2, occupied = 3 };

inline constexpr unsigned run_length_bits = 28;

struct run_entry {
  std::uint32_t length : run_length_bits;
  run_state state : 32 - run_length_bits;
  std::uint32_t dirty;    // of a free run: its dirty granules
  std::uint32_t previous; // in the bin
  std::uint32_t next;
  std::uint32_t older; // in the age list of dirty runs; a used run lends both to its owner
  std::uint32_t newer;
  std::uint32_t freed_ms;
};
static_assert(sizeof(run_entry) == 28);

// A contiguous stretch of granules.
struct span {
  std::uint32_t first;
  std::uint32_t count;
};

struct run_grant {
  std::uint32_t first;
  bool zeroed; // no granule was dirty: the memory reads as zero
};

class run_allocator {
public:
  // Starts over. `entries` and `dirty_bits` are zero, one for each of the range's granules.
  // `base`: the number of the first granule, counted from address 0; alignments are by address.
  void initialise(run_entry* entries, std::uint64_t* dirty_bits, std::uint32_t granules,
                  std::size_t base = 0);

  // A run of `count` granules whose address is a multiple of `alignment` granules, a power of two;
  // false if there is none. O(bins) and at most a few entries per bin.
  bool allocate(std::uint32_t count, std::uint32_t alignment, run_grant& grant);

  // The same, only of runs that have dirty granules.
  bool allocate_dirty(std::uint32_t count, std::uint32_t alignment, run_grant& grant);

  // A free run with dirty granules in which `count` granules fit from a multiple of `alignment` on;
  // no_granule if there is none. O(bins).
  std::uint32_t find_dirty(std::uint32_t count, std::uint32_t alignment) const;

  // The range ends here from now on; what lies beyond is never looked at.
  void set_granules(std::uint32_t granules) { granules_ = granules; }

  // Frees granules that were allocated (a whole run, or the tail of one after shrink()); their
  // pages may hold memory from now on. Returns the free run that came of it.
  // All times are of a clock that may wrap: runs are purged in due course whatever their age.
  span release(span freed, std::uint32_t now_ms);

  // Adds granules to the range, or returns such as were taken; their dirty bits say what they are.
  // Returns the free run that came of it.
  span insert(span added, std::uint32_t now_ms);

  // Takes `part` out of the free run that begins at `run_first`. Dirty bits stay as they are; the
  // caller carries them elsewhere.
  void remove(std::uint32_t run_first, span part) { carve(run_first, part); }
  // The same; until they are inserted again the granules count as those of a run that is purged.
  void set_aside(std::uint32_t run_first, span part) {
    carve(run_first, part);
    write_entries(part, run_state::occupied, run_state::occupied);
  }

  // Takes the beginning of the free run at `part.first`; true if the memory reads as zero.
  bool take(span part);

  // Prepares a used run for coming back piece by piece: any granule may become a neighbour of a
  // free run, so none may look like one.
  void split_into_granules(span part);

  // After remove(): the range no longer covers `part`, which may come back in multiples of `step`.
  void forget(span part, std::uint32_t step);

  // Lengthens a used run in place; false if what follows is not free or too short.
  bool extend(std::uint32_t first, std::uint32_t count, std::uint32_t more, bool& zeroed);

  // Splits a used run: the first `kept` granules stay, the caller releases the rest.
  void shrink(std::uint32_t first, std::uint32_t kept);

  // What is dirty of the free run that was freed first, if it has waited for `wait_ms` by now, but
  // at most `most` granules from the first dirty one to the last, is marked occupied, its dirty
  // bits intact; the caller purges it outside the lock, then calls finish_purge().
  bool begin_purge(std::uint32_t now_ms, std::uint32_t wait_ms, std::uint32_t most, span& taken);
  // Any dirty run whatever its age.
  bool begin_purge_any(std::uint32_t most, span& taken);
  // Returns the free run that came of it.
  span finish_purge(span taken, bool purged, std::uint32_t now_ms);
  // The first granule from `granule` on whose address is a multiple of `alignment` granules.
  std::size_t first_aligned(std::size_t granule, std::uint32_t alignment) const {
    return granule + ((0 - (base_ + granule)) & (alignment - 1));
  }
  // `part`, which is clean, with the clean granules of its run beside it, at most `most` on each
  // side.
  span clean_around(span run, span part, std::uint32_t most) const;
  const run_entry& entry(std::uint32_t granule) const { return entries_[granule]; }
  run_entry& entry(std::uint32_t granule) { return entries_[granule]; }
  std::uint32_t granules() const { return granules_; }
  std::size_t dirty_granules() const { return dirty_granules_; }
  std::size_t free_granules() const { return free_granules_; }
  void mark_dirty(span marked);
  // Clears the bits and returns how many were set.
  std::uint32_t clear_dirty(span cleared);

  // Walks all runs of [begin, end) and evaluates the invariants.
  void check_invariants(std::uint32_t begin, std::uint32_t end) const;

private:
  static constexpr std::uint32_t max_length = (std::uint32_t{1} << run_length_bits) - 1;

  // A stretch of free granules and how many of them are dirty.
  struct free_part {
    span where;
    std::uint32_t dirty;
  };

  bool is_dirty(std::uint32_t granule) const {
    return (dirty_bits_[granule / 64] >> (granule % 64) & 1) != 0;
  }

  static constexpr unsigned bin_count = 256;
  struct bin_set {
    std::uint64_t occupied[bin_count / 64];
    std::uint32_t heads[bin_count];
  };

  static unsigned bin_of(std::uint32_t length);
  bool find(const bin_set& set, std::uint32_t count, std::uint32_t alignment,
            std::uint32_t& found) const;
  // `freed_ms`: its age; `older`: a dirty run that is not younger, near it in the age list.
  void link(free_part run, std::uint32_t freed_ms, std::uint32_t older);
  void unlink(std::uint32_t first);
  void write_entries(span run, run_state first, run_state last);
  std::uint32_t count_dirty(span examined) const;
  // From the first dirty granule of a run to the last. REQUIRES: there is one.
  span dirty_stretch(span run) const;
  span coalesce(free_part added, std::uint32_t now_ms);
  void grant_from(std::uint32_t run, std::uint32_t count, std::uint32_t alignment,
                  run_grant& grant);
  // Takes [part] out of the free run at `first`, putting the remainders back.
  void carve(std::uint32_t first, span taken);

  run_entry* entries_ = nullptr;
  std::uint64_t* dirty_bits_ = nullptr;
  std::uint32_t granules_ = 0;
  std::uint32_t base_ = 0;   // its low bits are enough
  std::uint32_t oldest_ = 0; // all zero until initialise(): regions are in .bss
  std::uint32_t newest_ = 0;
  std::size_t dirty_granules_ = 0;
  std::size_t free_granules_ = 0;
  bin_set sets_[2] = {}; // clean, dirty
};

} // namespace mete::page
