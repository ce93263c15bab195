// SPDX-License-Identifier: MIT
#include "heap/cache.hpp"

#include "base/options.hpp"
#include "heap/registry.hpp"
#include "page/metadata.hpp"

#include <algorithm>
#include <cstring>

namespace mete::heap {
namespace {

constexpr unsigned misses_until_growth = 2;
constexpr unsigned misses_until_stealing = 16;
// What outlives a thread of an array: up to this many times its first size, and its memory if that
// is no more than for so many blocks.
constexpr unsigned kept_growth = 4;
constexpr unsigned kept_room = 128;
constexpr std::size_t process_budget_bytes = 16 * MiB; // shared by all threads
constexpr std::size_t min_thread_budget_bytes = 128 * KiB;
constexpr std::size_t small_heap_budget_bytes = 192 * KiB; // for a heap of up to eight times that
constexpr std::size_t budget_per_footprint = 8;

std::size_t array_bytes(unsigned capacity) {
  return (std::size_t{capacity} + 2) * sizeof(void*); // the null, and the end
}

// What one thread may keep: less when there are many, and at most a part of what its heap holds,
// so that the cache of a small program does not double it.
std::size_t thread_budget(const heap& h) {
  const auto limit = static_cast<std::size_t>(option(options.thread_cache_bytes));
  const std::size_t share = process_budget_bytes / std::max(1u, heaps_with_thread());
  return std::min({limit, h.cache_budget, std::max(share, min_thread_budget_bytes),
                   std::max(h.footprint_bytes / budget_per_footprint, small_heap_budget_bytes)});
}

// What of an array counts in the budget: not the first size, because every class that is used has
// it. The sum over all classes is more than the budget of a small heap.
std::size_t growth_bytes(unsigned class_index, unsigned capacity) {
  const size_class& info = size_classes[class_index];
  return capacity <= info.initial_cached
             ? 0
             : std::size_t{capacity - info.initial_cached} * info.block_bytes;
}

// How many blocks a refill brings, and how many a flush takes.
unsigned refilled(const cache_array& array) {
  return (array.capacity + 1u) / 2;
}

unsigned filled(const cache_bin& bin, const cache_array& array) {
  return static_cast<unsigned>(bin.top - array.slots);
}

// Memory for an array of this capacity; contents stay. False if there is none.
bool make_room(thread_state& thread, unsigned class_index, cache_array& array, unsigned capacity) {
  auto* const slots = static_cast<void**>(page::allocate_metadata(array_bytes(capacity)));
  if (slots == nullptr)
    return false;
  cache_bin& bin = thread.bins[class_index];
  unsigned held = 0;
  if (array.slots != nullptr) {
    held = filled(bin, array);
    std::memcpy(slots + 1, array.slots + 1, held * sizeof(void*));
    page::release_metadata(array.slots, array_bytes(array.room));
  }
  array.slots = slots;
  array.room = static_cast<std::uint16_t>(capacity);
  bin.top = slots + held;
  return true;
}

// Changes what the class's array may hold; contents stay. False if there is no memory for it.
// REQUIRES: they fit.
bool set_capacity(heap& h, thread_state& thread, unsigned class_index, unsigned capacity) {
  cache_array& array = h.classes[class_index].cache;
  if (capacity > array.room && !make_room(thread, class_index, array, capacity))
    return false;
  h.cached_limit_bytes += growth_bytes(class_index, capacity);
  h.cached_limit_bytes -= growth_bytes(class_index, array.capacity);
  // The old end becomes a slot, which must not look like one; what stood in a slot may become it.
  if (array.capacity != 0)
    array.slots[array.capacity + 1] = nullptr;
  array.slots[capacity + 1] = reinterpret_cast<void*>(end_of_array);
  array.capacity = static_cast<std::uint16_t>(capacity);
  array.kept = static_cast<std::uint16_t>(class_index < first_kept_class ? 0 : refilled(array));
  return true;
}

void drop_array(heap& h, thread_state& thread, unsigned class_index) {
  cache_array& array = h.classes[class_index].cache;
  h.cached_limit_bytes -= growth_bytes(class_index, array.capacity);
  page::release_metadata(array.slots, array_bytes(array.room));
  array = {};
  thread.bins[class_index].top = empty_bin;
}

// Returns the oldest `count` blocks to their slabs.
void flush(heap& h, thread_state& thread, unsigned class_index, unsigned count) {
  cache_array& array = h.classes[class_index].cache;
  cache_bin& bin = thread.bins[class_index];
  h.put_many(class_index, array.slots + 1, count);
  const unsigned kept = filled(bin, array) - count;
  std::memmove(array.slots + 1, array.slots + 1 + count, kept * sizeof(void*));
  bin.top = array.slots + kept;
}

// Empties the arrays of classes that have not missed lately and takes back what they have grown by,
// one after the other, each with a second chance, until `needed` bytes are free of the budget. (The
// clock algorithm: F. Corbató, 1968.) The memory of an array stays: it may have to grow again soon,
// and the lock of the metadata is everybody's.
void steal_budget(heap& h, thread_state& thread, unsigned for_class, std::size_t needed,
                  std::size_t budget) {
  for (unsigned looked_at = 0; looked_at < class_count; ++looked_at) {
    if (h.cached_limit_bytes + needed <= budget)
      return;
    const unsigned index = h.clock_hand++ % class_count;
    cache_array& array = h.classes[index].cache;
    if (array.slots == nullptr || index == for_class)
      continue;
    if (array.misses != 0) {
      array.misses = 0;
      continue;
    }
    flush(h, thread, index, filled(thread.bins[index], array));
    set_capacity(h, thread, index, size_classes[index].initial_cached);
  }
}

// Called at a miss. True if there is an array afterwards.
bool grow_if_missing(heap& h, thread_state& thread, unsigned class_index) {
  cache_array& array = h.classes[class_index].cache;
  const size_class& info = size_classes[class_index];
  if (array.slots == nullptr)
    return set_capacity(h, thread, class_index, info.initial_cached);
  if (++array.misses >= misses_until_growth && array.capacity < info.max_cached) {
    const unsigned wanted = std::min<unsigned>(2u * array.capacity, info.max_cached);
    const std::size_t more = std::size_t{wanted - array.capacity} * info.block_bytes;
    const std::size_t budget = thread_budget(h);
    if (array.misses % misses_until_stealing == 0)
      steal_budget(h, thread, class_index, more, budget);
    if (h.cached_limit_bytes + more <= budget)
      set_capacity(h, thread, class_index, wanted);
  }
  return true;
}

} // namespace

void* refill(heap& h, thread_state& thread, unsigned class_index) {
  unsigned fresh_from = 0;
  void* block = nullptr;
  if (!grow_if_missing(h, thread, class_index)) // no memory even for an array
    return h.take(class_index, &block, 1, fresh_from) == 1 ? block : nullptr;
  cache_array& array = h.classes[class_index].cache;
  cache_bin& bin = thread.bins[class_index];
  METE_DEBUG_CHECK(bin.top == array.slots);
  const unsigned taken = h.take(class_index, array.slots + 1, refilled(array), fresh_from);
  if (taken == 0)
    return nullptr;
  std::reverse(array.slots + 1, array.slots + 1 + taken); // the lowest address is popped first
  bin.top = array.slots + taken - 1;
  return bin.top[1];
}

void overflow(heap& h, thread_state& thread, unsigned class_index, void* block) {
  if (!grow_if_missing(h, thread, class_index)) {
    h.put_many(class_index, &block, 1);
    return;
  }
  cache_array& array = h.classes[class_index].cache;
  cache_bin& bin = thread.bins[class_index];
  if (is_full(bin))
    flush(h, thread, class_index, refilled(array));
  *++bin.top = block;
}

void* take_for_calloc(heap& h, thread_state& thread, unsigned class_index, bool& zeroed) {
  zeroed = false;
  cache_bin& bin = thread.bins[class_index];
  if (*bin.top != nullptr)
    return *bin.top--;
  unsigned fresh_from = 0;
  void* block = nullptr;
  if (h.take(class_index, &block, 1, fresh_from) == 0)
    return nullptr;
  zeroed = fresh_from == 0;
  return block;
}

void shrink_idle(heap& h, thread_state& thread) {
  for (unsigned index = 0; index < class_count; ++index) {
    cache_array& array = h.classes[index].cache;
    if (array.slots == nullptr)
      continue;
    if (array.misses == 0) {
      const unsigned held = filled(thread.bins[index], array);
      flush(h, thread, index, held - held / 2);
      const unsigned halved = array.capacity / 2;
      if (halved < size_classes[index].initial_cached) {
        if (held / 2 == 0)
          drop_array(h, thread, index);
      } else if (held / 2 <= halved) {
        set_capacity(h, thread, index, halved);
      }
    }
    array.misses = 0;
  }
}

void shed_cache(heap& h, thread_state& thread) {
  for (unsigned index = 0; index < class_count; ++index) {
    cache_array& array = h.classes[index].cache;
    if (array.slots == nullptr)
      continue;
    flush(h, thread, index, filled(thread.bins[index], array));
    set_capacity(h, thread, index,
                 std::min<unsigned>(array.capacity, size_classes[index].initial_cached / 2));
  }
}

void empty_cache(heap& h, thread_state& thread) {
  for (unsigned index = 0; index < class_count; ++index) {
    if (h.classes[index].cache.slots == nullptr)
      continue;
    flush(h, thread, index, filled(thread.bins[index], h.classes[index].cache));
    drop_array(h, thread, index);
  }
}

void leave_cache(heap& h, thread_state& thread) {
  for (unsigned index = 0; index < class_count; ++index) {
    cache_array& array = h.classes[index].cache;
    if (array.slots == nullptr)
      continue;
    flush(h, thread, index, filled(thread.bins[index], array));
    array.misses = 0; // many short threads are no reason to grow
    const unsigned most_kept = kept_growth * size_classes[index].initial_cached;
    if (array.room > std::max(most_kept, kept_room)) {
      drop_array(h, thread, index);
    } else {
      set_capacity(h, thread, index, std::min<unsigned>(array.capacity, most_kept));
      thread.bins[index].top = empty_bin;
    }
  }
}

void adopt_cache(heap& h, thread_state& thread) {
  for (unsigned index = 0; index < class_count; ++index) {
    const cache_array& array = h.classes[index].cache;
    if (array.slots != nullptr)
      thread.bins[index].top = array.slots;
  }
}

} // namespace mete::heap
