// SPDX-License-Identifier: MIT
#include "heap/heap.hpp"

#include "base/bits.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace mete::heap {

constinit slab_totals totals;

namespace {

// Fresh blocks are taken in smaller batches than used ones: what is freed meanwhile comes first.
constexpr std::size_t fresh_batch_bytes = 16 * KiB;

// One malloc drains no more than this much of the pending list, a piece at a time until it finds
// what it wants, and takes its blocks from no more slabs than this.
constexpr unsigned drained_at_once = 8;
constexpr unsigned drained_in_all = 32;
constexpr unsigned slabs_in_all = 32;

// A slab that decay has seen unchanged this often is purged; then it is not looked at again until
// it changes.
constexpr std::uint8_t rounds_until_idle = 2;
constexpr std::uint8_t rounds_done = 3;

std::ptrdiff_t bytes_of_pages(std::uint64_t pages) {
  return static_cast<std::ptrdiff_t>(count_bits(pages)) << os::page_shift;
}

// As many of the pages as the limits allow, which are lowered by what is taken.
std::uint64_t first_stretches(std::uint64_t pages, sweep_limits& limits) {
  std::uint64_t chosen = 0;
  while (pages != 0 && limits.stretches != 0 && limits.pages != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(pages));
    const unsigned length =
        std::min(static_cast<unsigned>(std::countr_one(pages >> first)), limits.pages);
    const std::uint64_t stretch = low_bits(length) << first;
    chosen |= stretch;
    pages &= ~stretch;
    --limits.stretches;
    limits.pages -= length;
  }
  return chosen;
}

slab& slab_of_remote(remote_state<>& remote) {
  static_assert(offsetof(slab, remote) == 0);
  return reinterpret_cast<slab&>(remote);
}

} // namespace

// While it lives, the slab's footprint may change; afterwards the sums, and its tag, are
// right again.
class footprint_change {
public:
  footprint_change(heap& h, const slab& s) : heap_(h), slab_(s), purged_before_(s.purged_pages) {
    heap_.footprint_bytes -= slab_.footprint_bytes();
  }
  ~footprint_change() {
    heap_.footprint_bytes += slab_.footprint_bytes();
    if (slab_.purged_pages == purged_before_) [[likely]]
      return;
    page::note_purged_in_slabs(bytes_of_pages(slab_.purged_pages) - bytes_of_pages(purged_before_));
    if ((slab_.purged_pages == 0) != (purged_before_ == 0))
      heap_.tag_slab(slab_);
  }
  footprint_change(const footprint_change&) = delete;
  footprint_change& operator=(const footprint_change&) = delete;

private:
  heap& heap_;
  const slab& slab_;
  const std::uint64_t purged_before_;
};

template <class Visit>
void heap::for_each_slab(Visit visit) {
  for (class_state& state : classes) {
    for (slab* s : {state.current, state.fresh})
      if (s != nullptr)
        visit(*s);
    for (slab* s = state.full.first(); s != nullptr; s = s->next)
      visit(*s);
  }
  for_each_partial(visit);
}

template <class Visit>
void heap::for_each_partial(Visit visit) {
  for (class_state& state : classes)
    for (intrusive_list<slab>& list : state.partial)
      for (slab* s = list.first(); s != nullptr; s = s->next)
        visit(*s);
}

void heap::add_partial(slab& s) {
  s.place = slab_place::partial;
  s.quarter = static_cast<std::uint8_t>(s.free_quarter()) & 3;
  classes[s.class_index].partial[s.quarter].push_front(&s);
}

void heap::remove_partial(slab& s) {
  for (slab_sweep* sweep : {&decay_sweep, &growth_sweep})
    if (sweep->next == &s)
      sweep->next = s.next;
  classes[s.class_index].partial[s.quarter].remove(&s);
}

// The fullest there is, roughly; `avoid_purged`: none that has only purged blocks to give.
slab* heap::pop_partial(class_state& state, bool avoid_purged) {
  unsigned moved = 0;
  for (unsigned list = 0; list != (avoid_purged ? purged_list : partial_lists); ++list) {
    while (slab* const s = state.partial[list].first()) {
      if (moved == slabs_in_all)
        return nullptr;
      remove_partial(*s);
      if (!avoid_purged || s->has_unpurged())
        return s;
      s->quarter = purged_list;
      state.partial[purged_list].push_front(s);
      ++moved;
    }
  }
  return nullptr;
}

// --- Taking -----------------------------------------------------------------------------------

unsigned heap::take(unsigned class_index, void** out, unsigned wanted, unsigned& fresh_from) {
  // A few used blocks are better than many fresh ones, but not one at a time.
  const unsigned enough = std::min(wanted, std::max(wanted / 8, 4u));
  unsigned taken = 0;
  unsigned ignored = 0;
  unsigned may_drain = drained_in_all;
  unsigned slabs = 0;
  // A dirty unit is memory that is there, a purged page is not: so it waits while there are such.
  const bool avoid_purged = page::dirty_unit_bytes() != 0 && size_classes[class_index].units == 1;
  for (; taken < enough && slabs < slabs_in_all; ++slabs) {
    slab* const s = find_used(class_index, may_drain, avoid_purged);
    if (s == nullptr)
      break;
    taken += take_from(*s, out + taken, std::min<unsigned>(wanted - taken, s->free_count), ignored,
                       avoid_purged && s->has_unpurged());
  }
  fresh_from = taken;
  if (taken >= enough || slabs == slabs_in_all)
    return taken;
  const unsigned batch =
      std::max<unsigned>(fresh_batch_bytes / size_classes[class_index].block_bytes, 4);
  wanted = std::min(wanted, taken + batch);
  while (taken < wanted) {
    slab* const s = find_fresh(class_index);
    if (s == nullptr)
      break;
    unsigned zero_from = 0;
    const unsigned step = take_from(*s, out + taken, wanted - taken, zero_from, avoid_purged);
    if (zero_from != 0)
      fresh_from = taken + step;
    taken += step;
  }
  return taken;
}

unsigned heap::take_from(slab& s, void** out, unsigned wanted, unsigned& fresh_from,
                         bool avoid_purged) {
  const footprint_change counted(*this, s);
  const unsigned taken = take_blocks(s, out, wanted, fresh_from, avoid_purged);
  balance_bytes += static_cast<std::ptrdiff_t>(taken * std::size_t{s.info().block_bytes});
  return taken;
}

// The slab has nothing to take any more, or only what was freed into it meanwhile.
void heap::retire(slab*& s) {
  METE_DEBUG_CHECK(s->frontier() == s->info().capacity);
  if (s->free_count != 0) {
    add_partial(*s);
  } else {
    s->place = slab_place::full;
    classes[s->class_index].full.push_front(s);
  }
  s = nullptr;
}

// A slab with free blocks that were used before, of what is at hand; nullptr if there is none.
slab* heap::find_at_hand(class_state& state, bool avoid_purged) {
  for (slab* s : {state.current, state.fresh})
    if (s != nullptr && (avoid_purged ? s->has_unpurged() : s->free_count != 0))
      return s;
  slab* const s = pop_partial(state, avoid_purged);
  if (s != nullptr)
    make_current(state, *s);
  return s;
}

// REQUIRES: the slab is on no list, and the current one has no free block.
void heap::make_current(class_state& state, slab& s) {
  if (state.current != nullptr)
    retire(state.current);
  s.place = slab_place::current;
  state.current = &s;
}

// The same wherever it is, if need be after draining up to `may_drain` pending slabs, which is
// lowered by that. Not before: a slab that waits longer comes home with more blocks at once, and
// its cache lines are far away.
slab* heap::find_used(unsigned class_index, unsigned& may_drain, bool avoid_purged) {
  class_state& state = classes[class_index];
  for (;;) {
    if (slab* const s = find_at_hand(state, avoid_purged); s != nullptr)
      return s;
    const unsigned piece = has_pending() ? std::min(may_drain, drained_at_once) : 0;
    if (piece == 0)
      break;
    may_drain -= piece;
    drain_some(piece);
  }
  // Not by a shared heap: a slab that is taken over has live blocks of others, and an explicit
  // heap takes everything in its slabs along when it is destroyed.
  slab* const s = shared_lock == nullptr ? take_over_slab(*this, class_index) : nullptr;
  if (s != nullptr)
    make_current(state, *s);
  return s;
}

// A slab with blocks beyond its frontier; nullptr if memory is out.
slab* heap::find_fresh(unsigned class_index) {
  class_state& state = classes[class_index];
  if (state.fresh != nullptr && state.fresh->frontier() == state.fresh->info().capacity)
    retire(state.fresh);
  if (state.fresh == nullptr) {
    state.fresh = create_slab(class_index);
    if (state.fresh != nullptr)
      state.fresh->place = slab_place::fresh;
  }
  return state.fresh;
}

slab* heap::create_slab(unsigned class_index) {
  const size_class& info = size_classes[class_index];
  void* const descriptor = page::allocate_metadata(info.descriptor_bytes);
  if (descriptor == nullptr)
    return nullptr;
  slab& s = *static_cast<slab*>(descriptor);
  s.remote.owner.store(&pending, std::memory_order_relaxed);
  const std::uint32_t tag = tag_ | class_index << tag_class_shift;
  page::grant units{};
  if (info.units == 1 && spare_unit_count_ != 0) {
    units.begin = spare_units_[--spare_unit_count_];
    page::retag_units(units.begin, 1, tag, descriptor);
  } else {
    units = page::allocate_units(info.units, tag, descriptor);
  }
  if (units.begin == nullptr) {
    page::release_metadata(descriptor, info.descriptor_bytes);
    return nullptr;
  }
  initialise_slab(s, class_index, units.begin, units.zeroed);
  return &s;
}

std::uint32_t heap::tag_of(const slab& s) const {
  return tag_ | std::uint32_t{s.class_index} << tag_class_shift |
         (s.purged_pages != 0 ? tag_purged : 0);
}

// Writes what the slab is now into the tags of its units.
void heap::tag_slab(const slab& s) {
  page::retag_units(s.begin, s.info().units, tag_of(s), const_cast<slab*>(&s));
}

bool heap::is_cached_or_in_outbox(const void* block, unsigned class_index) const {
  if (outbox_.contains(block))
    return true;
  void** const slots = classes[class_index].cache.slots;
  if (thread == nullptr || thread_has_ended || slots == nullptr)
    return false;
  // The thread may pop and push meanwhile; what a slot up to `top` holds was free at some time.
  void** const top = __atomic_load_n(&thread->bins[class_index].top, __ATOMIC_ACQUIRE);
  for (void** slot = slots + 1; slot <= top; ++slot)
    if (__atomic_load_n(slot, __ATOMIC_RELAXED) == block)
      return true;
  return false;
}

// --- Giving back ------------------------------------------------------------------------------

void heap::put(void* block) {
  slab& s = slab_of(block);
  freed_since_tick += s.info().block_bytes;
  put_block(s, block);
  balance_bytes -= s.info().block_bytes;
  after_return(s);
}

void heap::put_many(unsigned class_index, void* const* blocks, unsigned count) {
  while (count != 0) {
    const page::location where = page::locate(*blocks);
    const std::uint32_t tag = where.tag->load(std::memory_order_relaxed);
    unsigned done = 1;
    if (owns(tag)) [[likely]] {
      // Neighbours mostly have one slab, whose place needs to be looked at once then.
      slab& s = *static_cast<slab*>(where.descriptor->load(std::memory_order_relaxed));
      done = put_blocks(s, blocks, count);
      const std::size_t bytes = std::size_t{done} * size_classes[class_index].block_bytes;
      freed_since_tick += bytes;
      balance_bytes -= static_cast<std::ptrdiff_t>(bytes);
      after_return(s);
    } else {
      put_remote(tag, *blocks);
    }
    blocks += done;
    count -= done;
  }
}

void heap::deliver_outbox() {
  const std::size_t bytes = outbox_.bytes();
  outbox_.deliver();
  freed_since_tick += bytes; // the heaps that they go to may have nobody to notice
  balance_bytes -= static_cast<std::ptrdiff_t>(bytes);
}

// Blocks have come back to the slab: it may have to change its list, or may go altogether.
void heap::after_return(slab& s) {
  class_state& state = classes[s.class_index];
  if (s.place == slab_place::full && s.free_count != 0) {
    state.full.remove(&s);
    add_partial(s);
  } else if (s.place == slab_place::partial && s.quarter != s.free_quarter()) {
    remove_partial(s);
    add_partial(s);
  }
  if (s.empty() && s.place == slab_place::partial && releasable(s)) {
    remove_partial(s);
    release_slab(s);
  }
}

// REQUIRES: on no list.
void heap::release_slab(slab& s) {
  const size_class& info = s.info();
  METE_DEBUG_CHECK(s.remote.count.load(std::memory_order_relaxed) == 0);
  footprint_bytes -= s.footprint_bytes();
  balance_bytes -= s.live_bytes(); // not 0 when an explicit heap is destroyed
  if (s.purged_pages != 0)
    page::note_purged_in_slabs(-bytes_of_pages(s.purged_pages));
  if (info.units == 1 && spare_unit_count_ < max_spare_units) {
    page::retag_units(s.begin, 1, page::tag_none, nullptr);
    spare_units_[spare_unit_count_++] = s.begin;
  } else {
    page::release_units(s.begin, info.units);
  }
  page::release_metadata(&s, info.descriptor_bytes);
}

void heap::drain_pending() {
  drain_taken(UINT32_MAX);
  taken_pending_ = pending.take_all();
  drain_taken(UINT32_MAX);
}

bool heap::drain_some(std::uint32_t limit) {
  if (taken_pending_ == nullptr)
    taken_pending_ = pending.take_all();
  drain_taken(limit);
  return taken_pending_ != nullptr;
}

bool heap::drain_once(std::uint32_t& limit, bool& taken) {
  limit = drain_taken(limit);
  if (limit != 0 && !taken) {
    taken = true;
    taken_pending_ = pending.take_all();
    limit = drain_taken(limit);
  }
  return taken && taken_pending_ == nullptr;
}

// Returns what is left of the limit.
std::uint32_t heap::drain_taken(std::uint32_t limit) {
  return drain(pending, taken_pending_, limit, [this](remote_state<>& remote) {
    slab& s = slab_of_remote(remote);
    __builtin_prefetch(s.remote_bits(), 1);
    const unsigned before = s.free_count;
    collect_remote(s);
    freed_since_tick += (s.free_count - before) * std::size_t{s.info().block_bytes};
    after_return(s);
  });
}

void heap::release_spare_units() {
  while (spare_unit_count_ != 0)
    page::release_units(spare_units_[--spare_unit_count_], 1);
}

void heap::release_everything() {
  METE_DEBUG_CHECK(!has_pending() && outbox_.count() == 0);
  decay_sweep = growth_sweep = {};
  for (class_state& state : classes) {
    for (slab** s : {&state.current, &state.fresh}) {
      if (*s != nullptr)
        release_slab(**s);
      *s = nullptr;
    }
    while (slab* const s = pop_partial(state))
      release_slab(*s);
    while (slab* const s = state.full.pop_front())
      release_slab(*s);
  }
  release_spare_units();
  report_totals();
}

void heap::report_totals() {
  totals.live_bytes.fetch_add(std::exchange(balance_bytes, 0), std::memory_order_relaxed);
  const std::size_t before = std::exchange(reported_footprint_bytes, footprint_bytes);
  totals.footprint_bytes.fetch_add(static_cast<std::ptrdiff_t>(footprint_bytes) -
                                       static_cast<std::ptrdiff_t>(before),
                                   std::memory_order_relaxed);
}

// --- Decay ------------------------------------------------------------------------------------

void heap::begin_sweep(slab_sweep& sweep, bool settle) {
  sweep = {nullptr, 0, settle};
}

// The slab that comes next; nullptr at the end.
slab* heap::advance(slab_sweep& sweep) {
  while (sweep.next == nullptr && sweep.row != slab_sweep::end) {
    class_state& state = classes[sweep.row / slab_sweep::rows_per_class];
    const unsigned row = sweep.row++ % slab_sweep::rows_per_class;
    if (row >= 2)
      sweep.next = state.partial[row - 2].first();
    else if (slab* const s = row == 0 ? state.current : state.fresh; s != nullptr)
      return s;
  }
  slab* const s = sweep.next;
  if (s != nullptr)
    sweep.next = s->next;
  return s;
}

// True if the slab is idle, and there is something left to do about it.
bool heap::grow_old(slab& s, bool settle) {
  if (s.idle_rounds < rounds_until_idle)
    s.idle_rounds = settle ? rounds_until_idle : static_cast<std::uint8_t>(s.idle_rounds + 1);
  if (s.idle_rounds < rounds_until_idle)
    return false;
  if (s.place != slab_place::partial && releasable(s)) {
    class_state& state = classes[s.class_index];
    (s.place == slab_place::current ? state.current : state.fresh) = nullptr;
    release_slab(s);
    return false;
  }
  return s.idle_rounds == rounds_until_idle;
}

unsigned heap::sweep_slabs(slab_sweep& sweep, sweep_limits limits, purge_item* items) {
  unsigned count = 0;
  for (; limits.slabs != 0 && limits.stretches != 0 && limits.pages != 0 && count < max_sweep_items;
       --limits.slabs) {
    const slab_sweep here = sweep;
    slab* const s = advance(sweep);
    if (s == nullptr)
      break;
    if (!grow_old(*s, sweep.settle))
      continue;
    const footprint_change counted(*this, *s);
    const std::uint64_t pages = purgeable_pages(*s);
    const std::uint64_t chosen = first_stretches(pages, limits);
    if (chosen == pages)
      s->idle_rounds = rounds_done;
    else
      sweep = here; // the rest comes next
    if (chosen == 0)
      continue;
    claim_pages(*s, chosen);
    items[count++] = {s, chosen, 0};
  }
  if (!sweep.under_way())
    release_spare_units();
  return count;
}

void heap::finish_purge(const purge_item* items, unsigned count) {
  for (unsigned index = 0; index < count; ++index) {
    slab& s = *items[index].where;
    {
      const footprint_change counted(*this, s);
      unclaim_pages(s, items[index].pages, items[index].purged);
    }
    after_return(s);
  }
}

// --- Change of owner --------------------------------------------------------------------------

slab* heap::surrender(unsigned class_index) {
  class_state& state = classes[class_index];
  if (has_pending())
    drain_some(drained_in_all);
  slab* s = pop_partial(state);
  for (slab** other : {&state.current, &state.fresh}) {
    if (s == nullptr && *other != nullptr && (*other)->free_count != 0) {
      s = *other;
      *other = nullptr;
    }
  }
  if (s != nullptr) {
    footprint_bytes -= s->footprint_bytes();
    give_up_frontier(*s);
  }
  return s;
}

void heap::receive(slab& s) {
  change_owner(s.remote, pending);
  tag_slab(s);
  footprint_bytes += s.footprint_bytes();
}

heap_usage heap::usage() {
  heap_usage result;
  for_each_slab([&](slab& s) {
    const std::size_t bytes = s.info().block_bytes;
    ++result.slabs;
    result.slab_bytes += s.info().units * unit_bytes;
    result.block_bytes += (s.frontier() - s.free_count) * bytes;
    result.free_bytes += s.free_count * bytes;
    result.purged_bytes += std::size_t{count_bits(s.purged_pages)} << os::page_shift;
  });
  result.outbox_blocks = outbox_.count();
  return result;
}

void heap::check_invariants() {
  std::size_t footprint = 0;
  for_each_slab([&](slab& s) {
    check_slab_invariants(s);
    footprint += s.footprint_bytes();
    METE_CHECK(s.remote.owner.load(std::memory_order_relaxed) == &pending);
    METE_CHECK(s.place != slab_place::full || s.free_count == 0);
    const page::location where = page::locate(s.begin);
    METE_CHECK(where.tag->load(std::memory_order_relaxed) == tag_of(s));
    METE_CHECK(where.descriptor->load(std::memory_order_relaxed) == &s);
  });
  METE_CHECK(footprint == footprint_bytes);
}

} // namespace mete::heap
