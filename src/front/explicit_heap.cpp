// SPDX-License-Identifier: MIT
#include "front/explicit_heap.hpp"

#include "base/bits.hpp"
#include "base/list.hpp"
#include "front/allocate.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "heap/big.hpp"
#include "heap/freed_mark.hpp"
#include "heap/registry.hpp"
#include "mete/mete.h"
#include "page/metadata.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

namespace mete::heap {

struct keeper {
  keeper* next;
  keeper* previous;
  void* block;
  mete_heap* home;
};

} // namespace mete::heap

struct mete_heap {
  mete::heap::heap& slabs;
  mete::intrusive_list<mete::heap::keeper> big_blocks{};

  mete::ranked_lock& lock() const { return *slabs.shared_lock; }
};

namespace mete::front {
namespace {

using heap::keeper;

// While there is no keeper at all, freeing a big block need not look for one.
constinit std::atomic<std::size_t> keepers{0};

void drop_keeper(keeper* kept) {
  page::release_metadata(kept, sizeof(keeper));
  keepers.fetch_sub(1, std::memory_order_relaxed);
}

// Allocates in the heap's slabs. `zeroed` if the block reads as zero.
void* take_small(mete_heap& home, unsigned class_index, bool& zeroed) {
  void* block = nullptr;
  tick_result ticked;
  {
    lock_guard guard(home.lock());
    unsigned fresh_from = 0;
    if (home.slabs.take(class_index, &block, 1, fresh_from) == 0)
      return nullptr;
    zeroed = fresh_from == 0;
    if (count_slow_path(home.slabs)) [[unlikely]]
      ticked = tick_shared(home.slabs);
  }
  if (ticked.heap != nullptr) [[unlikely]]
    finish_tick(ticked);
  return heap::remove_mark(block);
}

void* take_big(mete_heap& home, std::size_t size, std::size_t alignment, bool& zeroed) {
  auto* const kept = static_cast<keeper*>(page::allocate_metadata(sizeof(keeper)));
  if (kept == nullptr)
    return nullptr;
  const page::grant result = heap::allocate_big(size, alignment);
  if (result.begin == nullptr) {
    page::release_metadata(kept, sizeof(keeper));
    return nullptr;
  }
  zeroed = result.zeroed;
  kept->block = result.begin;
  kept->home = &home;
  heap::set_keeper(result.begin, page::locate(result.begin), kept);
  keepers.fetch_add(1, std::memory_order_relaxed);
  lock_guard guard(home.lock());
  home.big_blocks.push_back(kept);
  return result.begin;
}

void* allocate_aligned_in(mete_heap& home, std::size_t alignment, std::size_t size, bool zero) {
  const std::size_t wanted = size == 0 ? 1 : size;
  const unsigned class_index = heap::aligned_class_of(wanted, alignment);
  bool zeroed = false;
  const auto attempt = [&] {
    return class_index < heap::class_count ? take_small(home, class_index, zeroed)
                                           : take_big(home, wanted, alignment, zeroed);
  };
  void* block = wanted <= PTRDIFF_MAX ? attempt() : nullptr;
  if (block == nullptr && wanted <= PTRDIFF_MAX && relieve(wanted)) [[unlikely]]
    block = attempt();
  if (block == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  if (class_index == heap::class_count)
    after_big_allocation(wanted);
  if (zero && !zeroed) // all of it, as calloc
    std::memset(block, 0,
                class_index < heap::class_count ? heap::size_classes[class_index].block_bytes
                                                : usable_size(block));
  return block;
}

} // namespace

mete_heap* home_of_small(std::uint32_t tag) {
  // The slab cannot change its owner meanwhile: no other heap takes one over from a shared heap.
  return (tag & heap::tag_shared) == 0
             ? nullptr
             : heap::heap_at((tag >> page::tag_owner_shift) - 1)->explicit_home;
}

mete_heap* home_of_big(const void* block, const page::location& where) {
  if (keepers.load(std::memory_order_relaxed) == 0)
    return nullptr;
  const keeper* const kept = heap::keeper_of(block, where);
  return kept == nullptr ? nullptr : kept->home;
}

void* allocate_in(mete_heap& home, std::size_t size) {
  return allocate_aligned_in(home, 1, size, false);
}

void note_moved_big(void* moved) {
  // Only the block's owner writes this, and a heap is destroyed after the last use of its blocks.
  heap::keeper_of(moved, page::locate(moved))->block = moved;
}

void forget_big(void* block, const page::location& where) {
  if (keepers.load(std::memory_order_relaxed) == 0 || heap::big_bytes(block, where) == 0)
    return;
  keeper* const kept = heap::keeper_of(block, where);
  if (kept == nullptr)
    return;
  {
    lock_guard guard(kept->home->lock());
    kept->home->big_blocks.remove(kept);
  }
  heap::set_keeper(block, where, nullptr);
  drop_keeper(kept);
}

} // namespace mete::front

// --- mete.h -----------------------------------------------------------------------------------

using namespace mete;

extern "C" {

mete_heap* mete_heap_create() noexcept {
  front::initialise();
  if (void* const memory = page::allocate_metadata(sizeof(mete_heap)); memory != nullptr) {
    if (heap::heap* const slabs = heap::create_shared_heap(); slabs != nullptr) {
      auto* const home = new (memory) mete_heap{*slabs};
      slabs->explicit_home = home;
      return home;
    }
    page::release_metadata(memory, sizeof(mete_heap));
  }
  errno = ENOMEM;
  return nullptr;
}

void mete_heap_destroy(mete_heap* home) noexcept {
  if (home == nullptr)
    return;
  const std::size_t dirty_before = page::dirty_bytes();
  heap::heap& slabs = home->slabs;
  bool purging = false;
  {
    lock_guard guard(*slabs.shared_lock);
    slabs.explicit_home = nullptr;
    purging = slabs.purging.load(std::memory_order_relaxed);
    if (purging)
      slabs.doomed = true;
    else
      slabs.release_everything();
  }
  if (!purging)
    heap::destroy_shared_heap(slabs);
  while (heap::keeper* const kept = home->big_blocks.pop_front()) {
    const page::location where = page::locate(kept->block);
    heap::set_keeper(kept->block, where, nullptr);
    heap::release_big(kept->block, where);
    front::drop_keeper(kept);
  }
  page::release_metadata(home, sizeof(mete_heap));
  front::after_big_free(dirty_before);
}

void* mete_heap_malloc(mete_heap* home, std::size_t size) noexcept {
  return front::allocate_aligned_in(*home, 1, size, false);
}

void* mete_heap_calloc(mete_heap* home, std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return front::allocate_aligned_in(*home, 1, bytes, true);
}

void* mete_heap_aligned_alloc(mete_heap* home, std::size_t alignment, std::size_t size) noexcept {
  if (!is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return front::allocate_aligned_in(*home, alignment, size, false);
}

void* mete_heap_realloc(mete_heap* home, void* block, std::size_t size) noexcept {
  if (block == nullptr)
    return mete_heap_malloc(home, size);
  return front::reallocate(block, size); // which leaves every block in its heap
}

void mete_heap_free(mete_heap*, void* block) noexcept {
  front::deallocate(block);
}

} // extern "C"
