// SPDX-License-Identifier: MIT
#include "front/maintenance.hpp"

#include "base/bits.hpp"
#include "base/futex.hpp"
#include "front/thread.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"
#include "os/thread.hpp"
#include "page/region.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace mete::front {

constinit ranked_lock maintenance_lock{lock_rank::maintenance};
constinit thread_local const void* freed_from = nullptr;

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
constexpr std::size_t inline_budget_bytes = 8 * MiB;

constexpr unsigned background_rounds_idle = 8;

std::uint32_t decay_ms() {
  return static_cast<std::uint32_t>(option(options.decay_ms));
}
std::uint32_t round_interval_ms() {
  return std::max(decay_ms() / 4, 10u);
}

// --- The decay round --------------------------------------------------------------------------

// True if nothing has happened in the heap for so long that there is nothing left to do in it.
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
  h.purging.store(false, std::memory_order_relaxed);
  claimed.count = 0;
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
  if (h.doomed) [[unlikely]] {
    h.doomed = false;
    h.release_everything();
    progress.doomed = true;
    return true;
  }
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

// REQUIRES: the maintenance lock.
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

// --- The background thread --------------------------------------------------------------------

struct background_state {
  std::atomic<std::uint32_t> running{0};
  std::atomic<bool> wanted{false};         // something came up since it last looked
  std::atomic<bool> forbidden{false};      // the process may not have it
  std::atomic<std::size_t> freed_bytes{0}; // to slabs, since it last existed
  std::atomic<std::uint32_t> never{0};     // what it sleeps on
};
constinit background_state background;

void background_rounds() {
  std::size_t dirty_before = 0;
  for (unsigned idle = 0; idle < background_rounds_idle;) {
    const std::uint32_t begin_ms = os::coarse_now_ms();
    std::size_t purged = 0;
    {
      lock_guard guard(maintenance_lock);
      purged = decay_round(false, SIZE_MAX);
    }
    const std::size_t dirty = page::dirty_bytes();
    const bool busy = background.wanted.exchange(false, std::memory_order_relaxed);
    idle = purged == 0 && !busy && dirty == dirty_before ? idle + 1 : 0;
    dirty_before = dirty;
    // At most a twentieth of its time, however much there is to look at.
    const std::uint32_t took_ms = os::coarse_now_ms() - begin_ms;
    futex_wait_for(background.never, 0, std::max(round_interval_ms(), 20 * took_ms));
  }
}

void background_main() {
  renounce_heap();
  do {
    background_rounds();
    background.freed_bytes.store(0, std::memory_order_relaxed);
    background.running.store(0, std::memory_order_seq_cst);
    // Whoever wanted something in between has seen `running`: then it is ours to do.
  } while (background.wanted.load(std::memory_order_seq_cst) &&
           background.running.exchange(1, std::memory_order_seq_cst) == 0);
}

// True if the thread is there, now or from now on, or soon.
bool ensure_background() {
  if (option(options.background) == 0 || background.forbidden.load(std::memory_order_relaxed))
    return false;
  if (!background.wanted.load(std::memory_order_relaxed))
    background.wanted.store(true, std::memory_order_seq_cst);
  if (background.running.load(std::memory_order_seq_cst) != 0)
    return true;
  // Not while the C library is inside its list of stacks; the next look from elsewhere starts it.
  if (os::is_loader_code(std::exchange(freed_from, nullptr)))
    return true;
  if (background.running.exchange(1, std::memory_order_seq_cst) != 0)
    return true;
  if (os::start_thread(background_main, "mete-purger"))
    return true;
  background.running.store(0, std::memory_order_relaxed);
  background.forbidden.store(true, std::memory_order_relaxed);
  return false;
}

bool much_is_unused() {
  const auto threshold = static_cast<std::size_t>(option(options.background_threshold));
  return page::dirty_bytes() >= threshold ||
         background.freed_bytes.load(std::memory_order_relaxed) >= threshold;
}

// --- By the way, in the threads themselves ----------------------------------------------------

// The cgroup's or the machine's, read when this process has become worth it: start-up stays short.
std::size_t memory_limit() {
  static constinit std::atomic<std::size_t> limit{0};
  std::size_t known = limit.load(std::memory_order_relaxed);
  if (known == 0) {
    if (page::resident_bytes() < 16 * MiB)
      return SIZE_MAX;
    known = os::memory_limit_bytes();
    limit.store(known, std::memory_order_relaxed);
  }
  return known;
}

// Near the limit memory goes back at once, not after a time. What remains then is in use, so the
// next attempt waits until it has grown noticeably.
void relieve_pressure() {
  static constinit std::atomic<std::size_t> remained{0};
  const std::size_t limit = memory_limit();
  const std::size_t resident = page::resident_bytes();
  if (resident < limit / 4 * 3) {
    remained.store(0, std::memory_order_relaxed);
    return;
  }
  if (resident < remained.load(std::memory_order_relaxed) + limit / 32 ||
      !maintenance_lock.try_lock())
    return;
  decay_round(true, SIZE_MAX);
  page::purge_runs_above(0);
  remained.store(page::resident_bytes(), std::memory_order_relaxed);
  maintenance_lock.unlock();
}

// True once for every size that memory has reached for the first time.
bool at_new_peak(std::size_t resident) {
  static constinit std::atomic<std::size_t> peak{0};
  if (resident <= peak.load(std::memory_order_relaxed))
    return false;
  peak.store(resident, std::memory_order_relaxed); // racy: at worst a limit is applied once less
  return true;
}

// Dirty memory is what the next allocations take first, so a program whose blocks come and go by
// the megabyte needs room for them; below the peak it costs nothing that was not there already. But
// at a new peak clean memory was taken although there is dirty memory: so that does not fit what is
// asked for, and most of it is not worth a higher peak.
std::size_t dirty_limit(std::size_t resident, bool new_peak) {
  if (decay_ms() == 0)
    return 0;
  if (const long long wanted = option(options.dirty_limit); wanted != 0)
    return static_cast<std::size_t>(wanted);
  return std::min(new_peak ? std::max(1 * MiB, resident / 6) : std::max(64 * MiB, resident / 2),
                  memory_limit() / 8);
}

// `allocated`: memory was allocated, not freed. What is freed can seem to be a new peak, because
// runs are rounded up on their way back.
void purge_excess(bool allocated, std::size_t budget) {
  // The limit of the last new peak holds until it has been reached, a budget at a time.
  static constinit std::atomic<std::size_t> owed{SIZE_MAX};
  const std::size_t resident = page::resident_bytes();
  const bool new_peak = at_new_peak(resident) && allocated;
  const std::size_t limit =
      std::min(dirty_limit(resident, new_peak), owed.load(std::memory_order_relaxed));
  if (page::dirty_bytes() <= limit) {
    owed.store(SIZE_MAX, std::memory_order_relaxed);
    return;
  }
  if (new_peak)
    owed.store(limit, std::memory_order_relaxed); // racy, too
  if (!maintenance_lock.try_lock())
    return; // somebody is at it
  page::purge_runs_above(limit, budget);
  maintenance_lock.unlock();
}

void decay_inline(std::uint32_t now_ms) {
  static constinit std::atomic<std::uint32_t> last_round_ms{0};
  if (now_ms - last_round_ms.load(std::memory_order_relaxed) < round_interval_ms() ||
      !maintenance_lock.try_lock())
    return;
  last_round_ms.store(now_ms, std::memory_order_relaxed);
  decay_round(false, inline_budget_bytes);
  maintenance_lock.unlock();
}

void settle_dirty(std::uint32_t now_ms, bool allocated, std::size_t bytes) {
  relieve_pressure();
  purge_excess(allocated, bytes);
  if (much_is_unused() && !ensure_background())
    decay_inline(now_ms);
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
  if (!maintenance_lock.try_lock())
    return; // a round is under way
  claimed_pages claimed;
  with_heap(h, [&] { claim_piece(h, h.growth_sweep, growth_piece, claimed); });
  claimed.purge();
  if (claimed.count != 0)
    with_heap(h, [&] { give_back_claimed(h, claimed); });
  maintenance_lock.unlock();
}

} // namespace

tick_result tick_shared(heap::heap& h) {
  const std::size_t freed = std::exchange(h.freed_since_tick, 0);
  const std::size_t footprint_before = std::exchange(h.footprint_at_tick, h.footprint_bytes);
  const std::size_t grown = difference_or_zero(h.footprint_bytes, footprint_before);
  background.freed_bytes.fetch_add(freed, std::memory_order_relaxed);
  return {&h, os::coarse_now_ms(), freed, grown, false};
}

tick_result tick_inside(heap::heap& h, heap::thread_state& cache) {
  tick_result ticked = tick_shared(h);
  if (!h.growth_sweep.under_way() && has_grown(h))
    h.begin_sweep(h.growth_sweep, true);
  if (ticked.now_ms - h.last_tick_ms >= cache_tick_ms) {
    h.last_tick_ms = ticked.now_ms;
    heap::shrink_idle(h, cache);
    h.deliver_outbox();
  }
  // Mallocs drain only what they need; but empty slabs wait in the list, and double frees.
  if (ticked.freed_bytes >= much_freed_bytes)
    h.drain_some(drain_piece);
  ticked.growing = h.growth_sweep.under_way();
  return ticked;
}

void finish_tick(const tick_result& ticked) {
  if (ticked.growing)
    pay_for_growth(*ticked.heap);
  settle_dirty(ticked.now_ms, true,
               purge_piece_bytes + ticked.freed_bytes + 2 * ticked.grown_bytes);
}

void tick(heap::heap& h) {
  tick_result ticked;
  {
    heap::owner_guard inside(h.lock);
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
    heap::owner_guard inside(own->lock);
    heap::empty_cache(*own, heap::this_thread);
  }
  lock_guard guard(maintenance_lock);
  const std::size_t bytes = decay_round(true, 0);
  return bytes + page::purge_runs_above(0);
}

bool relieve(std::size_t size) {
  // What lies free in regions, but scattered, or as regions too small: else nothing would help.
  const page::region_usage usage = page::regions_in_use();
  if (usage.reserved_bytes - usage.committed_bytes + usage.free_bytes < size && usage.regions < 2)
    return false;
  const std::size_t purged = collect() + page::release_empty_regions();
  // What came home may serve even if its pages could not be purged.
  return purged != 0 || page::regions_in_use().free_bytes > usage.free_bytes;
}

void forget_background_thread() {
  background.running.store(0, std::memory_order_relaxed);
  background.wanted.store(false, std::memory_order_relaxed);
}

} // namespace mete::front
