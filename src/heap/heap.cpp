// SPDX-License-Identifier: MIT
#include "heap/heap.hpp"

#include "base/bits.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

#include <algorithm>
#include <bit>

namespace mete::heap {
namespace {

// Fresh blocks are taken in smaller batches than used ones: what is freed meanwhile comes first.
constexpr std::size_t fresh_batch_bytes = 16 * KiB;

// A slab that decay has seen unchanged this often is purged; then it is not looked at again until
// it changes.
constexpr std::uint8_t rounds_until_idle = 2;
constexpr std::uint8_t rounds_done = 3;

// While it lives, the slab's footprint may change; afterwards the heap's sum is right again.
class footprint_change {
public:
  footprint_change(heap& h, const slab& s) : heap_(h), slab_(s) {
    heap_.footprint_bytes -= slab_.footprint_bytes();
  }
  ~footprint_change() { heap_.footprint_bytes += slab_.footprint_bytes(); }
  footprint_change(const footprint_change&) = delete;
  footprint_change& operator=(const footprint_change&) = delete;

private:
  heap& heap_;
  const slab& slab_;
};

slab& slab_of_remote(remote_state<>& remote) {
  static_assert(offsetof(slab, remote) == 0);
  return reinterpret_cast<slab&>(remote);
}

} // namespace

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

// The fullest there is, roughly.
slab* heap::pop_partial(class_state& state) {
  for (intrusive_list<slab>& list : state.partial)
    if (slab* const s = list.pop_front(); s != nullptr)
      return s;
  return nullptr;
}

// --- Taking -----------------------------------------------------------------------------------

unsigned heap::take(unsigned class_index, void** out, unsigned wanted, unsigned& fresh_from) {
  // A few used blocks are better than many fresh ones, but not one at a time.
  const unsigned enough = std::min(wanted, std::max(wanted / 8, 4u));
  unsigned taken = 0;
  unsigned ignored = 0;
  while (taken < enough) {
    slab* const s = find_used(class_index);
    if (s == nullptr)
      break;
    taken += take_from(*s, out + taken, std::min<unsigned>(wanted - taken, s->free_count), ignored);
  }
  fresh_from = taken;
  if (taken >= enough)
    return taken;
  const unsigned batch =
      std::max<unsigned>(fresh_batch_bytes / size_classes[class_index].block_bytes, 4);
  wanted = std::min(wanted, taken + batch);
  while (taken < wanted) {
    slab* const s = find_fresh(class_index);
    if (s == nullptr)
      break;
    unsigned zero_from = 0;
    const unsigned step = take_from(*s, out + taken, wanted - taken, zero_from);
    if (zero_from != 0)
      fresh_from = taken + step;
    taken += step;
  }
  return taken;
}

unsigned heap::take_from(slab& s, void** out, unsigned wanted, unsigned& fresh_from) {
  const footprint_change counted(*this, s);
  return take_blocks(s, out, wanted, fresh_from);
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

// A slab with free blocks that were used before; nullptr if there is none.
slab* heap::find_used(unsigned class_index) {
  class_state& state = classes[class_index];
  if (state.current != nullptr && state.current->free_count != 0)
    return state.current;
  if (!pending.empty())
    drain_pending();
  if (state.fresh != nullptr && state.fresh->free_count != 0)
    return state.fresh;
  while (state.current == nullptr || state.current->free_count == 0) {
    if (state.current != nullptr)
      retire(state.current);
    slab* s = pop_partial(state);
    // Not by a shared heap: a slab that is taken over has live blocks of others, and an explicit
    // heap takes everything in its slabs along when it is destroyed.
    if (s == nullptr && shared_lock == nullptr)
      s = take_over_slab(*this, class_index);
    if (s == nullptr)
      return nullptr;
    s->place = slab_place::current;
    state.current = s;
  }
  return state.current;
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

// --- Giving back ------------------------------------------------------------------------------

void heap::put(void* block) {
  slab& s = slab_of(block);
  put_block(s, block);
  after_return(s);
}

void heap::put_many(unsigned class_index, void* const* blocks, unsigned count) {
  // Those of others count, too: the heap that they go to may have nobody to notice.
  freed_since_tick += std::size_t{count} * size_classes[class_index].block_bytes;
  while (count != 0) {
    const page::location where = page::locate(*blocks);
    const std::uint32_t tag = where.tag->load(std::memory_order_relaxed);
    unsigned done = 1;
    if (owns(tag)) [[likely]] {
      // Neighbours mostly have one slab, whose place needs to be looked at once then.
      slab& s = *static_cast<slab*>(where.descriptor->load(std::memory_order_relaxed));
      done = put_blocks(s, blocks, count);
      after_return(s);
    } else {
      put_remote(tag, *blocks);
    }
    blocks += done;
    count -= done;
  }
}

// Blocks have come back to the slab: it may have to change its list, or may go altogether.
void heap::after_return(slab& s) {
  class_state& state = classes[s.class_index];
  if (s.place == slab_place::full && s.free_count != 0) {
    state.full.remove(&s);
    add_partial(s);
  } else if (s.place == slab_place::partial && s.quarter != s.free_quarter()) {
    state.partial[s.quarter].remove(&s);
    add_partial(s);
  }
  if (s.empty() && s.place == slab_place::partial && releasable(s)) {
    state.partial[s.quarter].remove(&s);
    release_slab(s);
  }
}

// REQUIRES: on no list.
void heap::release_slab(slab& s) {
  const size_class& info = s.info();
  METE_DEBUG_CHECK(s.remote.count.load(std::memory_order_relaxed) == 0);
  footprint_bytes -= s.footprint_bytes();
  if (info.units == 1 && spare_unit_count_ < max_spare_units) {
    page::retag_units(s.begin, 1, page::tag_none, nullptr);
    spare_units_[spare_unit_count_++] = s.begin;
  } else {
    page::release_units(s.begin, info.units);
  }
  page::release_metadata(&s, info.descriptor_bytes);
}

void heap::drain_pending() {
  drain(pending, [this](remote_state<>& remote) {
    slab& s = slab_of_remote(remote);
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
}

// --- Decay ------------------------------------------------------------------------------------

void heap::begin_decay_round(bool settle) {
  deliver_outbox();
  drain_pending();
  const auto age = [settle](slab& s) {
    if (s.idle_rounds < rounds_until_idle)
      s.idle_rounds = settle ? rounds_until_idle : static_cast<std::uint8_t>(s.idle_rounds + 1);
  };
  for (class_state& state : classes) {
    for (slab** s : {&state.current, &state.fresh}) {
      if (*s == nullptr)
        continue;
      age(**s);
      if ((*s)->idle_rounds >= rounds_until_idle && releasable(**s)) {
        release_slab(**s);
        *s = nullptr;
      }
    }
  }
  for_each_partial(age);
  release_spare_units();
}

unsigned heap::claim_purgeable(purge_item* items, unsigned limit) {
  unsigned count = 0;
  const auto consider = [&](slab& s) {
    if (s.idle_rounds != rounds_until_idle || count == limit)
      return;
    s.idle_rounds = rounds_done;
    const footprint_change counted(*this, s);
    const std::uint64_t pages = purgeable_pages(s);
    if (pages == 0)
      return;
    claim_pages(s, pages);
    items[count++] = {&s, pages, false};
  };
  for (class_state& state : classes)
    for (slab* s : {state.current, state.fresh})
      if (s != nullptr)
        consider(*s);
  for_each_partial(consider);
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
  if (!pending.empty())
    drain_pending();
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
  page::retag_units(s.begin, s.info().units, tag_ | std::uint32_t{s.class_index} << tag_class_shift,
                    &s);
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
    METE_CHECK(where.tag->load(std::memory_order_relaxed) ==
               (tag_ | std::uint32_t{s.class_index} << tag_class_shift));
    METE_CHECK(where.descriptor->load(std::memory_order_relaxed) == &s);
  });
  METE_CHECK(footprint == footprint_bytes);
}

} // namespace mete::heap
