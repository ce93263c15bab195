// A heap: the slabs of one owner, and what is on its way to other owners.
//
// Per size class a heap has a current slab whose free blocks it takes, the partial ones that come
// next, a fresh one with blocks that were never handed out, and the full ones. Used blocks come
// before fresh ones: memory that is not touched is not there. Blocks freed by the owner come back
// to their slabs in batches (from its thread cache); blocks freed by others come back by the
// pending list; blocks of others that this heap's thread frees wait in the outbox.
//
// A heap has a thread, or is abandoned (its thread ended; the next new one adopts it, its slabs may
// be taken over), or is shared: an explicit heap, used by any thread under a mutex; or it is a
// processor's, for all threads that run there (heap/cpu_cache.hpp).
//
// Everybody who touches a shared heap holds its mutex, the threads that free a block of it
// included: so its blocks are never in a thread's cache or in an outbox, none of its slabs ever has
// remote frees, and it can be destroyed without a look at any other heap (docs/decisions/0020).
//
// Thread safety: every member function REQUIRES that the caller holds `lock`, as its owner or by
// revocation (of a shared heap: holds *shared_lock), except where it says otherwise.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/list.hpp"
#include "base/units.hpp"
#include "heap/biased_lock.hpp"
#include "heap/outbox.hpp"
#include "heap/slab.hpp"
#include "heap/thread_cache.hpp"

struct mete_heap;

namespace mete::heap {

// Where a thread's cache keeps one class's pointers; managed by heap/cache.hpp.
struct cache_array {
  void** slots = nullptr; // slots[0] is the null
  std::uint16_t capacity = 0;
  std::uint16_t room = 0;   // capacity that there is memory for
  std::uint16_t misses = 0; // since the last look
  std::uint16_t kept = 0;   // up to so many blocks, others' are kept (keep_foreign())
};

struct class_state {
  slab* current = nullptr; // nothing beyond its frontier
  slab* fresh = nullptr; // the only one with blocks beyond its frontier, unless decay took them in
  intrusive_list<slab> partial[partial_lists]; // by the quarter that is free, fullest first
  intrusive_list<slab> full;
  cache_array cache;
};

// A way through all slabs of a heap, in pieces: in between the heap is let go, and its lists
// change. What is new by then, or changed its list, may be passed over or met twice.
struct slab_sweep {
  static constexpr unsigned rows_per_class = 2 + partial_lists; // current, fresh, partial lists
  static constexpr unsigned end = class_count * rows_per_class;

  bool under_way() const { return row != end || next != nullptr; }

  slab* next = nullptr; // in a partial list
  unsigned row = end;   // where to go on after that list
  bool settle = false;  // unchanged slabs count as idle at once
};

// How much of a sweep is done while nobody else gets the heap.
struct sweep_limits {
  unsigned slabs;     // looked at
  unsigned stretches; // of neighbouring pages claimed: each is one call to the OS
  unsigned pages;     // claimed
};

struct heap_usage {
  std::size_t slabs = 0;
  std::size_t slab_bytes = 0;    // address space of the slabs
  std::size_t block_bytes = 0;   // blocks handed out, thread caches included
  std::size_t free_bytes = 0;    // free blocks below the frontiers
  std::size_t purged_bytes = 0;  // pages purged inside slabs
  std::size_t outbox_blocks = 0; // freed by this thread, not delivered yet
};

// Of all heaps, as they last reported. Each counts what passes through itself, so what a heap's
// blocks are freed by other heaps is counted there, and only the sum says how much is live.
struct slab_totals {
  std::atomic<std::ptrdiff_t> live_bytes{0}; // handed out, or cached
  std::atomic<std::ptrdiff_t> footprint_bytes{0};
};
extern constinit slab_totals totals;

class footprint_change;

class heap {
public:
  explicit heap(std::uint32_t tag) : tag_(tag) {}
  // One that is shared for all its life. `tag` has tag_shared in it.
  struct shared_kind {};
  heap(std::uint32_t tag, shared_kind) : shared_lock(&mutex_), tag_(tag) {}

  std::uint32_t tag() const { return tag_; } // any time
  bool owns(std::uint32_t tag) const { return (tag ^ tag_) < tag_class_end; }

  bool serves_cpu() const { return tag_ >= first_cpu_tag; } // any time

  // Up to `wanted` blocks of a class, ascending within a slab; fewer where that is enough to go on
  // with, 0 if memory is out. From out[fresh_from] on they read as zero.
  unsigned take(unsigned class_index, void** out, unsigned wanted, unsigned& fresh_from);

  // A block of this heap's slabs comes back.
  void put(void* block);
  // Blocks of one class come back, to this heap's slabs or on their way to others.
  void put_many(unsigned class_index, void* const* blocks, unsigned count);

  // A block of another heap, whose unit has this tag, into the outbox. True now and then: it is
  // time for deliver_full_outbox(), and to think of a tick. REQUIRES: the other heap is not shared.
  [[nodiscard]] bool add_remote(std::uint32_t tag, void* block) {
    METE_DEBUG_CHECK((tag & tag_shared) == 0);
    return outbox_.add(block, size_classes[class_of_tag(tag)].block_bytes);
  }
  void put_remote(std::uint32_t tag, void* block) {
    if (add_remote(tag, block)) [[unlikely]]
      deliver_full_outbox();
  }
  void deliver_full_outbox() {
    if (outbox_.is_full())
      deliver_outbox();
  }
  void deliver_outbox();

  // Whether a free block waits in the cache of the heap's thread, which may be at work, or in the
  // outbox. O(blocks cached).
  bool is_cached_or_in_outbox(const void* block, unsigned class_index) const;

  // Blocks that others freed come home: of all slabs that are pending, or of at most `limit`, which
  // are taken from the pending list all at once; true if of those more are left.
  void drain_pending();
  bool drain_some(std::uint32_t limit);
  // What an earlier drain_some() left, then, once, all that is pending by then; `limit` is lowered
  // by what was drained. True when both are done. REQUIRES: `taken` is false at the first call.
  bool drain_once(std::uint32_t& limit, bool& taken);
  bool has_pending() const { return taken_pending_ != nullptr || !pending.empty(); }

  // --- Decay.

  void release_spare_units();

  // A round goes over all slabs: those that have not changed since the last rounds are idle, and of
  // them free pages are claimed for purging; the empty ones go. First comes begin_sweep(), then,
  // until the sweep is no longer under way, sweep_slabs(): it returns how many items it has filled,
  // up to `max_sweep_items`, for finish_purge().
  struct purge_item {
    slab* where;
    std::uint64_t pages;  // claimed
    std::uint64_t purged; // of those, what the OS has taken back
  };
  static constexpr unsigned max_sweep_items = 32;
  void begin_sweep(slab_sweep& sweep, bool settle);
  unsigned sweep_slabs(slab_sweep& sweep, sweep_limits limits, purge_item* items);
  void finish_purge(const purge_item* items, unsigned count);

  // --- Change of owner.

  // A slab of the class with free blocks, for another heap to receive() while both are held;
  // nullptr if there is none. REQUIRES: the heap is abandoned.
  slab* surrender(unsigned class_index);
  void receive(slab& s);

  // Gives back every slab, whatever lives in it. REQUIRES: nobody uses it (explicit heaps), and no
  // page of it is claimed.
  void release_everything();

  // Adds what has changed since the last time to `totals`.
  void report_totals();

  heap_usage usage();
  void check_invariants();

  // --- State that others manage.

  biased_lock lock;
  class_state classes[class_count];
  thread_state* thread = nullptr;     // registry lock; nullptr: abandoned or shared
  heap* next_abandoned = nullptr;     // registry lock
  unsigned clock_hand = 0;            // heap/cache.cpp: whose array to look at next
  std::size_t cached_limit_bytes = 0; // what the cache arrays have grown by, in bytes of blocks
  std::size_t footprint_bytes = 0;    // of all slabs
  std::ptrdiff_t balance_bytes = 0;   // taken from slabs less freed into any, since the last report
  std::size_t reported_footprint_bytes = 0;
  std::size_t grown_to = 0;                 // the largest footprint for which maintenance has run
  std::atomic<std::uint32_t> operations{0}; // slow paths taken, for ticks
  std::uint32_t last_tick_ms = 0;
  std::size_t freed_since_tick = 0;         // bytes that came back to slabs
  std::size_t tick_bytes = 1 * MiB;         // after so many it is time to tick
  std::size_t footprint_at_tick = 0;        // the last one
  std::size_t freed_since_shed = 0;         // the same, since the thread's cache was emptied
  std::size_t cache_budget = SIZE_MAX;      // what arrays may grow by, as far as maintenance cares
  std::uint32_t operations_settled = 0;     // maintenance lock: as the last settling round saw it,
  std::uint32_t operations_at_round = 0;    // as decay saw it last,
  std::uint8_t quiet_rounds = 0;            // and in how many rounds nothing happened
  ranked_lock* const shared_lock = nullptr; // what serialises a shared heap's users
  mete_heap* explicit_home = nullptr;       // whose slabs these are (front/explicit_heap.cpp)
  std::atomic<bool> purging{false};         // claimed pages are being purged: slabs must stay
  std::atomic<std::uint8_t> in_gate{0};     // front/gate.hpp: its thread is inside
  bool thread_has_ended =
      false;               // outside of the gate: its cache is kept elsewhere, and will be left
  bool doomed = false;     // destroyed while `purging`: whoever purges has to see to the rest
  slab_sweep decay_sweep;  // of the decay round,
  slab_sweep growth_sweep; // and of the owner, because the heap has grown

  alignas(cache_line_bytes) pending_list<> pending; // any time, any thread

private:
  friend class footprint_change;

  unsigned take_from(slab& s, void** out, unsigned wanted, unsigned& fresh_from, bool avoid_purged);
  slab* find_at_hand(class_state& state, bool avoid_purged);
  slab* find_used(unsigned class_index, unsigned& may_drain, bool avoid_purged);
  void make_current(class_state& state, slab& s);
  slab* find_fresh(unsigned class_index);
  void retire(slab*& s);
  slab* create_slab(unsigned class_index);
  std::uint32_t tag_of(const slab& s) const;
  void tag_slab(const slab& s);
  void release_slab(slab& s);
  void after_return(slab& s);
  void add_partial(slab& s);
  void remove_partial(slab& s);
  slab* pop_partial(class_state& state, bool avoid_purged = false);
  slab* advance(slab_sweep& sweep);
  bool grow_old(slab& s, bool settle);
  std::uint32_t drain_taken(std::uint32_t limit);
  template <class Visit>
  void for_each_partial(Visit visit);
  template <class Visit>
  void for_each_slab(Visit visit);

  static constexpr unsigned max_spare_units = 2;

  const std::uint32_t tag_;
  ranked_lock mutex_{lock_rank::explicit_heap}; // of a shared heap
  unsigned spare_unit_count_ = 0;
  char* spare_units_[max_spare_units] = {};
  remote_state<>* taken_pending_ = nullptr; // what drain_some() left, taken from `pending`
  outbox outbox_;
};

} // namespace mete::heap
