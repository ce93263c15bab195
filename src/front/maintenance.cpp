// SPDX-License-Identifier: MIT
#include "front/maintenance.hpp"

#include "base/bits.hpp"
#include "base/falling.hpp"
#include "front/background.hpp"
#include "front/deferred_work.hpp"
#include "front/dirty_limit.hpp"
#include "front/falling_slabs.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"
#include "page/region.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace mete::front {

constinit ranked_lock maintenance_lock{lock_rank::maintenance};
constinit thread_local const void* freed_from = nullptr;
constinit thread_local unsigned loader_frees = 0;

namespace {

constexpr std::uint32_t cache_tick_ms = 100;
constexpr std::uint8_t quiet_rounds_needed = 5; // more than slabs need to count as idle

// The work that is done at once, while a heap is held or in a program's malloc or free: what is
// left waits for the next time.
constexpr heap::sweep_limits decay_piece{.slabs = 128, .stretches = 64, .pages = 512};
// At each slow path of a heap that grows, by 16 KiB mostly: so it gives back faster than it takes.
constexpr heap::sweep_limits growth_piece{.slabs = 16, .stretches = 4, .pages = 64};
constexpr std::size_t purge_piece_bytes = 256 * KiB;
constexpr unsigned drain_piece = 16;
constexpr std::size_t falling_cache_bytes = 128 * KiB; // of a thread, while memory falls
constexpr std::size_t much_freed_bytes = 1 * MiB;      // to a heap's slabs: time to tick

} // namespace

// --- The decay round --------------------------------------------------------------------------

bool is_quiet(heap::heap& h) {
  const std::uint32_t operations = h.operations.load(std::memory_order_relaxed);
  if (operations != h.operations_at_round || !h.pending.empty()) {
    h.operations_at_round = operations;
    h.quiet_rounds = 0;
    return false;
  }
  if (h.quiet_rounds == quiet_rounds_needed)
    return true;
  ++h.quiet_rounds;
  return false;
}

namespace {

// The stretches of neighbouring pages of one slab. The heap is not held: the pages are claimed.
std::size_t purge_claimed(heap::heap::purge_item& item) {
  std::size_t bytes = 0;
  for (std::uint64_t pages = item.pages; pages != 0;) {
    const auto first = static_cast<unsigned>(std::countr_zero(pages));
    const auto length = static_cast<unsigned>(std::countr_one(pages >> first));
    const std::uint64_t mask = low_bits(length) << first;
    const std::size_t stretch = std::size_t{length} << os::page_shift;
    if (os::purge(item.where->begin + (std::size_t{first} << os::page_shift), stretch)) {
      bytes += stretch;
      item.purged |= mask;
    }
    pages &= ~mask;
  }
  return bytes;
}

// Pages of a heap that are claimed while they are purged.
struct claimed_pages {
  heap::heap::purge_item items[heap::heap::max_sweep_items];
  unsigned count = 0;

  std::size_t purge() { // the heap is not held
    std::size_t bytes = 0;
    for (unsigned index = 0; index < count; ++index)
      bytes += purge_claimed(items[index]);
    return bytes;
  }
};

// A piece of a sweep. REQUIRES: the heap is held, and no page of it is claimed.
void claim_piece(heap::heap& h, heap::slab_sweep& sweep, heap::sweep_limits limits,
                 claimed_pages& claimed) {
  claimed.count = h.sweep_slabs(sweep, limits, claimed.items);
  h.purging.store(claimed.count != 0, std::memory_order_relaxed);
}

// The pages belong to their slabs again. REQUIRES: the heap is held.
void give_back_claimed(heap::heap& h, claimed_pages& claimed) {
  if (claimed.count == 0)
    return;
  h.finish_purge(claimed.items, claimed.count);
  h.report_totals();
  h.purging.store(false, std::memory_order_relaxed);
  claimed.count = 0;
}

// A heap that was destroyed while its pages were claimed is to be seen to now.
bool finish_doomed(heap::heap& h) {
  if (!h.doomed) [[likely]]
    return false;
  h.doomed = false;
  h.release_everything();
  return true;
}

// How far a decay round has come in a heap.
struct decay_progress {
  bool settle;
  bool begun = false;
  bool pending_taken = false;
  bool drained = false;
  bool doomed = false; // the heap was destroyed meanwhile, and has to go to the others that were
  claimed_pages claimed{};
};

// What others freed, what this heap freed of others, then all slabs: as much of that as one piece
// may be, because the heap's thread waits meanwhile. True if it was the last. REQUIRES: the heap is
// held.
bool decay_inside(heap::heap& h, decay_progress& progress) {
  give_back_claimed(h, progress.claimed);
  progress.doomed = finish_doomed(h);
  if (progress.doomed) [[unlikely]]
    return true;
  // A processor's cache is within reach, unlike a thread's: it shrinks from round to round while
  // nobody misses anything in it. (When all is to be settled it is empty already.)
  if (h.serves_cpu() && h.quiet_rounds != 0 && !progress.begun && !progress.settle)
    heap::shrink_idle(h, *h.thread);
  progress.begun = true;
  heap::sweep_limits limits = decay_piece;
  if (!progress.drained) {
    progress.drained = h.drain_once(limits.slabs, progress.pending_taken);
    if (!progress.drained)
      return false;
    h.deliver_outbox();
    h.begin_sweep(h.decay_sweep, progress.settle);
  }
  claim_piece(h, h.decay_sweep, limits, progress.claimed);
  return progress.claimed.count == 0 && !h.decay_sweep.under_way();
}

// One visit, and one more after each piece in which pages were purged.
std::size_t decay_heap(heap::heap& h, bool settle) {
  decay_progress progress{.settle = settle};
  std::size_t bytes = 0;
  bool finished = false;
  while (!finished) {
    with_heap(h, [&] { finished = decay_inside(h, progress); });
    bytes += progress.claimed.purge();
  }
  if (progress.doomed) [[unlikely]]
    heap::destroy_shared_heap(h);
  return bytes;
}

// Processors' caches and all outboxes become empty: no block freed before is on its way any more.
// Shared heaps leave nothing in their outboxes.
void deliver_everything() {
  heap::for_each_heap([](heap::heap& h) {
    if (h.shared_lock != nullptr)
      return;
    with_heap(h, [&] {
      if (h.serves_cpu())
        heap::empty_cache(h, *h.thread);
      h.deliver_outbox();
    });
  });
}

} // namespace

bool decay_heap_piece(heap::heap& h, bool settle, heap::sweep_limits limits, std::size_t& purged) {
  claimed_pages claimed;
  bool more = true;
  with_heap(h, [&] {
    if (!h.decay_sweep.under_way() || h.decay_sweep.settle != settle) {
      if (h.drain_some(limits.slabs))
        return; // the rest of the list comes next
      if (h.serves_cpu() && settle)
        heap::empty_cache(h, *h.thread);
      else if (h.serves_cpu() && h.quiet_rounds != 0)
        heap::shrink_idle(h, *h.thread);
      h.deliver_outbox();
      h.begin_sweep(h.decay_sweep, settle);
    }
    claim_piece(h, h.decay_sweep, limits, claimed);
    more = h.decay_sweep.under_way();
  });
  purged += claimed.purge();
  bool doomed = false;
  if (claimed.count != 0)
    with_heap(h, [&] {
      give_back_claimed(h, claimed);
      doomed = finish_doomed(h);
    });
  if (doomed) [[unlikely]]
    heap::destroy_shared_heap(h);
  return more && !doomed;
}

std::uint32_t round_interval_ms() {
  return std::max(decay_ms() / 4, 10u);
}

std::size_t decay_round(bool settle, std::size_t budget) {
  std::size_t bytes = 0;
  if (settle)
    deliver_everything(); // first: what is delivered may be for a heap that comes before
  heap::for_each_heap([&](heap::heap& h) {
    if (settle || !is_quiet(h))
      bytes += decay_heap(h, settle);
  });
  return bytes + page::purge_runs_idle_for(decay_ms(), budget);
}

namespace {

// --- Ticks ------------------------------------------------------------------------------------

void settle_dirty(std::uint32_t now_ms, bool allocated, std::size_t bytes) {
  relieve_pressure();
  purge_excess(allocated, bytes);
  continue_inline_round(now_ms);
}

// True if the heap is a step larger than it ever was at such a step.
bool has_grown(heap::heap& h) {
  const std::size_t step = std::max(1 * MiB, h.grown_to / 16);
  if (h.footprint_bytes < h.grown_to + step)
    return false;
  h.grown_to = h.footprint_bytes;
  return true;
}

// Memory in slabs decays with time, and with growth: a heap that takes more and more memory for
// some sizes gives back the free pages among blocks of others.
void pay_for_growth(heap::heap& h) {
  maintenance_turn turn;
  if (!turn)
    return; // a round is under way
  claimed_pages claimed;
  with_heap(h, [&] { claim_piece(h, h.growth_sweep, growth_piece, claimed); });
  claimed.purge();
  if (claimed.count != 0)
    with_heap(h, [&] { give_back_claimed(h, claimed); });
}

// What lies in the cache of a thread that has freed much, and may fall asleep now, would stay.
void shed_if_falling(heap::heap& h, heap::thread_state& cache, std::size_t freed) {
  const std::size_t step = shrink_step();
  const bool falling = slabs_are_falling();
  h.tick_bytes = falling ? step / 2 : much_freed_bytes;
  h.cache_budget = falling ? std::max(step, falling_cache_bytes) : SIZE_MAX;
  h.freed_since_shed += freed;
  if (!falling || h.freed_since_shed < step)
    return;
  h.freed_since_shed = 0;
  heap::shed_cache(h, cache);
  h.deliver_outbox();
  h.report_totals();
}

} // namespace

tick_result tick_shared(heap::heap& h) {
  h.report_totals();
  const std::size_t freed = std::exchange(h.freed_since_tick, 0);
  const std::size_t footprint_before = std::exchange(h.footprint_at_tick, h.footprint_bytes);
  const std::size_t grown = difference_or_zero(h.footprint_bytes, footprint_before);
  note_freed(freed);
  return {&h, os::coarse_now_ms(), freed, grown, false};
}

tick_result tick_inside(heap::heap& h, heap::thread_state& cache) {
  tick_result ticked = tick_shared(h);
  // Mallocs drain only what they need; but empty slabs wait in the list, and double frees.
  if (ticked.freed_bytes >= h.tick_bytes)
    h.drain_some(drain_piece);
  shed_if_falling(h, cache, ticked.freed_bytes);
  if (!h.growth_sweep.under_way() && has_grown(h))
    h.begin_sweep(h.growth_sweep, true);
  if (ticked.now_ms - h.last_tick_ms >= cache_tick_ms) {
    h.last_tick_ms = ticked.now_ms;
    heap::shrink_idle(h, cache);
    h.deliver_outbox();
  }
  ticked.growing = h.growth_sweep.under_way();
  return ticked;
}

void finish_tick(const tick_result& ticked) {
  if (deferred_work_waits()) [[unlikely]]
    run_deferred_work();
  if (ticked.growing)
    pay_for_growth(*ticked.heap);
  settle_dirty(ticked.now_ms, true,
               purge_piece_bytes + ticked.freed_bytes + 2 * ticked.grown_bytes);
}

void tick(heap::heap& h) {
  tick_result ticked;
  {
    if (!gate::enter_heap(h)) [[unlikely]]
      return;
    own_heap_guard inside(h);
    ticked = tick_inside(h, heap::this_thread);
  }
  finish_tick(ticked);
}

void after_big_allocation(std::size_t size) {
  purge_excess(true, purge_piece_bytes + 2 * size);
}

void after_big_free(std::size_t dirty_before) {
  const std::size_t added = difference_or_zero(page::dirty_bytes(), dirty_before);
  settle_dirty(os::coarse_now_ms(), false, purge_piece_bytes + 2 * added);
}

std::size_t collect() {
  if (heap::heap* const own = heap::this_thread.owned; own != nullptr) {
    if (!gate::enter_heap(*own)) [[unlikely]]
      return 0;
    own_heap_guard inside(*own);
    heap::empty_cache(*own, heap::this_thread);
  }
  run_deferred_work();
  gate_pass inside;
  if (!inside)
    return 0;
  lock_guard guard(maintenance_lock);
  const std::size_t bytes = decay_round(true, 0);
  return bytes + page::purge_runs_above(0);
}

bool relieve(std::size_t size) {
  // What lies free in regions, but scattered, or as regions too small: else nothing would help.
  const page::region_usage usage = page::regions_in_use();
  if (usage.reserved_bytes - usage.committed_bytes + usage.free_bytes < size && usage.regions < 2)
    return false;
  std::size_t purged = collect();
  if (gate_pass inside; inside)
    purged += page::release_empty_regions();
  // What came home may serve even if its pages could not be purged.
  return purged != 0 || page::regions_in_use().free_bytes > usage.free_bytes;
}

void one_thread_is_left() {
  if (static_cast<background_mode>(option(options.background)) != background_mode::beside_threads)
    return;
  static constinit seldom rounds;
  // If it ran there was something to give back, of which some may be on its way to its heap still.
  const bool ran = stop_background();
  const std::size_t unused = page::dirty_bytes() + unused_in_slabs();
  if (!falling_counts() || !(ran || unused >= falling_amount::small_change_bytes) ||
      !rounds.take(os::coarse_now_ms()))
    return;
  if (gate_pass inside; inside) {
    lock_guard guard(maintenance_lock);
    decay_round(true, 0);
  }
  purge_excess(false, SIZE_MAX);
  note_settled();
  forget_freed();
}

} // namespace mete::front
