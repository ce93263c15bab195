// SPDX-License-Identifier: MIT
#include "heap/registry.hpp"

#include "heap/cpu_cache.hpp"
#include "page/metadata.hpp"

#include <new>

namespace mete::heap {
namespace {

constexpr unsigned take_over_tries = 4; // abandoned heaps looked at: bounded work per slow path

static_assert(sizeof(heap) <= page::metadata_max_bytes);

constinit ranked_lock registry_lock{lock_rank::registry};
constinit std::atomic<heap*> heaps[max_heaps] = {};
constinit std::atomic<unsigned> count{0};
constinit std::atomic<unsigned> with_thread{0};
constinit heap* abandoned = nullptr;
// Read without the lock before it is taken: mostly there is nothing to take over.
constinit std::atomic<unsigned> abandoned_count{0};
constinit heap* destroyed = nullptr; // shared heaps to be used again, linked by next_abandoned

unsigned index_of_tag(std::uint32_t tag) {
  return (tag >> page::tag_owner_shift) - 1;
}

// A heap is complete before anybody can find it. REQUIRES: the registry lock.
template <class... Kind>
heap* make_heap(std::uint32_t tag, Kind... kind) {
  const unsigned index = count.load(std::memory_order_relaxed);
  if (index == max_heaps)
    return nullptr;
  void* const memory = page::allocate_metadata(sizeof(heap));
  if (memory == nullptr)
    return nullptr;
  heap* const h = new (memory) heap(tag, kind...);
  heaps[index].store(h, std::memory_order_release);
  count.store(index + 1, std::memory_order_release);
  return h;
}

// Of the next heap. REQUIRES: the registry lock.
std::uint32_t next_tag() {
  return (count.load(std::memory_order_relaxed) + 1) << page::tag_owner_shift;
}

void push_abandoned(heap* h) {
  h->thread = nullptr;
  h->next_abandoned = abandoned;
  abandoned = h;
  abandoned_count.fetch_add(1, std::memory_order_relaxed);
}

} // namespace

static_assert((max_heaps + 1) << page::tag_owner_shift == first_cpu_tag);
static_assert(first_cpu_tag + (max_cpus << page::tag_owner_shift) < tag_of_nobody);

heap* acquire_heap(thread_state* thread) {
  lock_guard guard(registry_lock);
  heap* h = abandoned;
  if (h != nullptr) {
    abandoned = h->next_abandoned;
    h->next_abandoned = nullptr;
    abandoned_count.fetch_sub(1, std::memory_order_relaxed);
  } else {
    h = make_heap(next_tag());
  }
  if (h != nullptr) {
    h->thread = thread;
    with_thread.fetch_add(1, std::memory_order_relaxed);
  }
  return h;
}

void abandon_heap(heap& h) {
  lock_guard guard(registry_lock);
  with_thread.fetch_sub(1, std::memory_order_relaxed);
  push_abandoned(&h);
}

heap* create_shared_heap() {
  lock_guard guard(registry_lock);
  heap* const h = destroyed;
  if (h == nullptr)
    return make_heap(next_tag() | tag_shared, heap::shared_kind{});
  destroyed = h->next_abandoned;
  h->next_abandoned = nullptr;
  heaps[index_of_tag(h->tag())].store(h, std::memory_order_release);
  return h;
}

void destroy_shared_heap(heap& h) {
  lock_guard guard(registry_lock);
  heaps[index_of_tag(h.tag())].store(nullptr, std::memory_order_release);
  h.next_abandoned = destroyed;
  destroyed = &h;
}

bool create_cpu_cache(std::atomic<cpu_cache*>& place, unsigned cpu) {
  lock_guard guard(registry_lock);
  if (place.load(std::memory_order_relaxed) != nullptr)
    return true;
  void* const memory = page::allocate_metadata(sizeof(cpu_cache));
  heap* const h =
      memory != nullptr ? make_heap(first_cpu_tag + (cpu << page::tag_owner_shift)) : nullptr;
  if (h == nullptr) {
    if (memory != nullptr)
      page::release_metadata(memory, sizeof(cpu_cache));
    return false;
  }
  auto* const cache = new (memory) cpu_cache{make_unknown_thread(), lock_for_sequences(*h)};
  cache->state.owned = h;
  h->thread = &cache->state;
  with_thread.fetch_add(1, std::memory_order_relaxed);
  // release: a sequence on that processor sees what was written above.
  place.store(cache, std::memory_order_seq_cst);
  // Once more, for who gives sequences up just now and did not see the cache.
  cache->lock.store(lock_for_sequences(*h), std::memory_order_relaxed);
  return true;
}

slab* take_over_slab(heap& taker, unsigned class_index) {
  if (abandoned_count.load(std::memory_order_relaxed) == 0)
    return nullptr;
  // The taker's own lock is of a higher rank; so this one is tried, not awaited.
  if (!registry_lock.try_lock())
    return nullptr;
  slab* found = nullptr;
  unsigned tries = 0;
  for (heap* h = abandoned; h != nullptr && found == nullptr && tries < take_over_tries;
       h = h->next_abandoned, ++tries) {
    if (h == &taker || !h->lock.try_claim_unowned())
      continue;
    if (!h->purging.load(std::memory_order_relaxed))
      found = h->surrender(class_index);
    // While both heaps are held: in between, the slab would still be taken for the old heap's, by
    // whoever adopts that or drains its list.
    if (found != nullptr)
      taker.receive(*found);
    h->lock.restore();
  }
  registry_lock.unlock();
  return found;
}

heap* shared_heap_of(std::uint32_t tag) {
  METE_DEBUG_CHECK((tag & tag_shared) != 0);
  return heap_at(index_of_tag(tag));
}

unsigned heap_count() {
  return count.load(std::memory_order_acquire);
}
heap* heap_at(unsigned index) {
  return heaps[index].load(std::memory_order_acquire);
}
unsigned heaps_with_thread() {
  return with_thread.load(std::memory_order_relaxed);
}

bool is_cached_or_under_way(const void* block, unsigned class_index) {
  lock_guard guard(registry_lock); // so that no thread that is looked at ends
  bool found = false;
  for_each_heap([&](heap& h) {
    if (found || h.shared_lock != nullptr) // whose blocks go home at once
      return;
    const bool own = &h == this_thread.owned;
    own ? h.lock.enter() : h.lock.revoke();
    found = h.is_cached_or_in_outbox(block, class_index);
    own ? h.lock.leave() : h.lock.restore();
  });
  return found;
}

bool reset_registry_lock_in_child() {
  // Who visits all heaps may have had one of these when it was destroyed.
  for (heap* h = destroyed; h != nullptr; h = h->next_abandoned)
    h->shared_lock->reset_in_child();
  return registry_lock.reset_in_child();
}

void set_aside(heap& h) {
  heaps[(h.tag() >> page::tag_owner_shift) - 1].store(nullptr, std::memory_order_release);
  if (h.thread != nullptr) {
    h.thread = nullptr;
    with_thread.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  for (heap** link = &abandoned; *link != nullptr; link = &(*link)->next_abandoned)
    if (*link == &h) {
      *link = h.next_abandoned;
      abandoned_count.fetch_sub(1, std::memory_order_relaxed);
      return;
    }
}

void abandon_all_but(heap* survivor) {
  for_each_heap([=](heap& h) {
    if (&h == survivor || h.thread == nullptr || h.serves_cpu())
      return;
    with_thread.fetch_sub(1, std::memory_order_relaxed);
    // The thread stopped somewhere in its fast path, so what its cache holds is not to be trusted:
    // a slot may be written and the top not yet, or the other way round. Those blocks are lost.
    for (class_state& state : h.classes)
      state.cache = {};
    h.cached_limit_bytes = 0;
    push_abandoned(&h);
  });
}

} // namespace mete::heap
