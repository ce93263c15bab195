// SPDX-License-Identifier: MIT
#include "front/explicit_heap.hpp"

#include "base/bits.hpp"
#include "base/list.hpp"
#include "front/allocate.hpp"
#include "front/deferred_work.hpp"
#include "front/emergency.hpp"
#include "front/gate.hpp"
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

// Longer than elsewhere, because what is made outside of the gate is no part of the heap.
constexpr std::uint32_t heap_patience_ms = 1000;

void drop_keeper(keeper* kept) {
  page::release_metadata(kept, sizeof(keeper));
  keepers.fetch_sub(1, std::memory_order_relaxed);
}

// What an allocation in a heap has come to, beside its block.
struct allocation {
  bool zeroed = false;  // the block reads as zero
  bool refused = false; // the gate is closed
};

// Allocates in the heap's slabs.
void* take_small(mete_heap& home, unsigned class_index, allocation& result) {
  void* block = nullptr;
  tick_result ticked;
  {
    gate_pass inside{heap_patience_ms};
    result.refused = !inside;
    if (result.refused) [[unlikely]]
      return nullptr;
    lock_guard guard(home.lock());
    unsigned fresh_from = 0;
    if (home.slabs.take(class_index, &block, 1, fresh_from) == 0)
      return nullptr;
    result.zeroed = fresh_from == 0;
    if (count_slow_path(home.slabs, slow_path::allocation)) [[unlikely]]
      ticked = tick_shared(home.slabs);
  }
  if (ticked.heap != nullptr) [[unlikely]]
    finish_tick(ticked);
  return heap::remove_mark(block);
}

void* take_big(mete_heap& home, std::size_t size, std::size_t alignment, allocation& made) {
  gate_pass inside{heap_patience_ms};
  made.refused = !inside;
  if (made.refused) [[unlikely]]
    return nullptr;
  auto* const kept = static_cast<keeper*>(page::allocate_metadata(sizeof(keeper)));
  if (kept == nullptr)
    return nullptr;
  const page::grant result = heap::allocate_big(size, alignment);
  if (result.begin == nullptr) {
    page::release_metadata(kept, sizeof(keeper));
    return nullptr;
  }
  made.zeroed = result.zeroed;
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
  allocation made;
  // Without a fork that takes long, a block of the heap; then one that outlives it, but that is
  // there.
  const auto attempt = [&]() -> void* {
    void* const block = class_index < heap::class_count ? take_small(home, class_index, made)
                                                        : take_big(home, wanted, alignment, made);
    return made.refused ? allocate_emergency(wanted, alignment) : block;
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
  if (zero && !made.zeroed)
    std::memset(block, 0, usable_size(block)); // all of it, as calloc
  return block;
}

// REQUIRES: the caller is inside of the gate.
void destroy_heap(mete_heap& home) {
  heap::heap& slabs = home.slabs;
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
  while (keeper* const kept = home.big_blocks.pop_front()) {
    const page::location where = page::locate(kept->block);
    heap::set_keeper(kept->block, where, nullptr);
    heap::release_big(kept->block, where);
    drop_keeper(kept);
  }
  page::release_metadata(&home, sizeof(mete_heap));
}

// For a heap that could not be destroyed when that was asked for.
void destroy_heap_later(void* home) {
  gate_pass inside;
  // What waits by now may be a free of one of its blocks, which had to be put off once more.
  if (inside && !deferred_work_waits())
    destroy_heap(*static_cast<mete_heap*>(home));
  else
    defer(destroy_heap_later, home);
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
  // There is no heap outside of the gate; so this waits as long as anybody would.
  if (front::gate_pass inside{front::heap_patience_ms}; inside) {
    if (void* const memory = page::allocate_metadata(sizeof(mete_heap)); memory != nullptr) {
      if (heap::heap* const slabs = heap::create_shared_heap(); slabs != nullptr) {
        auto* const home = new (memory) mete_heap{*slabs};
        slabs->explicit_home = home;
        return home;
      }
      page::release_metadata(memory, sizeof(mete_heap));
    }
  }
  errno = ENOMEM;
  return nullptr;
}

void mete_heap_destroy(mete_heap* home) noexcept {
  if (home == nullptr)
    return;
  const std::size_t dirty_before = page::dirty_bytes();
  // Frees of its blocks that were put off come first.
  const bool all_done = front::finish_deferred_work();
  {
    front::gate_pass inside;
    if (!inside || !all_done)
      return front::defer(front::destroy_heap_later, home);
    front::destroy_heap(*home);
  }
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
