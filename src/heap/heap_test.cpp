// A heap's long work in pieces: each does a bounded part, and all together do everything, whatever
// happens to the heap in between. Bounds are counts, so they hold on any machine.
//
// SPDX-License-Identifier: MIT
#include "heap/heap.hpp"

#include "heap/heap_for_test.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <vector>

namespace mete::heap {
namespace {

class heap_test : public testing::Test {
protected:
  heap_test() {
    os::initialise_memory();
    h = acquire_heap(&states[0]);
    other = acquire_heap(&states[1]);
    for (heap* each : {h, other}) {
      owner_guard inside(each->lock);
      settle(*each);
    }
  }
  ~heap_test() override {
    free_all();
    for (heap* each : {h, other}) {
      {
        owner_guard inside(each->lock);
        settle(*each);
        each->check_invariants();
      }
      abandon_heap(*each);
    }
  }

  void allocate_many(unsigned class_index, std::size_t count) {
    owner_guard inside(h->lock);
    for (std::size_t at = 0; at < count; ++at) {
      void* block = nullptr;
      unsigned fresh = 0;
      ASSERT_EQ(h->take(class_index, &block, 1, fresh), 1u);
      blocks.push_back(block);
    }
  }
  void put_all_but_each(std::size_t kept) {
    owner_guard inside(h->lock);
    std::vector<void*> left;
    for (std::size_t at = 0; at < blocks.size(); ++at) {
      if (at % kept == 0)
        left.push_back(blocks[at]);
      else
        h->put(blocks[at]);
    }
    blocks = left;
  }
  void free_all() {
    owner_guard inside(h->lock);
    for (void* each : blocks)
      h->put(each);
    blocks.clear();
  }
  void free_all_remotely() {
    owner_guard inside(other->lock);
    for (void* each : blocks)
      other->put_remote(page::locate(each).tag->load(), each);
    other->deliver_outbox();
    blocks.clear();
  }

  heap_usage usage() {
    owner_guard inside(h->lock);
    return h->usage();
  }
  // All free pages, without a call to the OS. Returns the bytes purged in the heap's slabs then.
  std::size_t purge_as_if() {
    owner_guard inside(h->lock);
    heap::purge_item items[heap::max_sweep_items];
    h->begin_sweep(h->decay_sweep, true);
    while (h->decay_sweep.under_way()) {
      const unsigned count = h->sweep_slabs(h->decay_sweep, {128, 32, UINT32_MAX}, items);
      for (unsigned at = 0; at < count; ++at)
        items[at].purged = items[at].pages;
      h->finish_purge(items, count);
    }
    return h->usage().purged_bytes;
  }

  static unsigned stretches_in(std::uint64_t pages) {
    return static_cast<unsigned>(std::popcount(pages & ~(pages << 1)));
  }

  static constexpr unsigned class_1000 = class_of(1000);
  thread_state states[2] = {};
  heap* h = nullptr;
  heap* other = nullptr;
  std::vector<void*> blocks;
};

TEST_F(heap_test, a_sweep_keeps_its_limits_in_each_piece_and_purges_all_in_the_end) {
  allocate_many(class_1000, 20'000);
  put_all_but_each(17); // a free stretch or two in each four pages
  owner_guard inside(h->lock);
  const std::size_t free_before = h->usage().free_bytes;
  heap::purge_item items[heap::max_sweep_items];
  std::size_t purged_pages = 0;
  unsigned pieces = 0;
  h->begin_sweep(h->decay_sweep, true);
  for (; h->decay_sweep.under_way(); ++pieces) {
    const unsigned count = h->sweep_slabs(h->decay_sweep, {8, 3, 5}, items);
    unsigned stretches = 0;
    std::size_t pages = 0;
    for (unsigned at = 0; at < count; ++at) {
      stretches += stretches_in(items[at].pages);
      pages += static_cast<std::size_t>(std::popcount(items[at].pages));
      items[at].purged = items[at].pages; // as if
    }
    ASSERT_LE(count, 3u);
    ASSERT_LE(stretches, 3u);
    ASSERT_LE(pages, 5u);
    purged_pages += pages;
    h->finish_purge(items, count);
  }
  EXPECT_GE(pieces, 20'000 / 64 / 8);
  EXPECT_EQ(h->usage().purged_bytes, purged_pages << os::page_shift);
  EXPECT_GE(purged_pages << os::page_shift, free_before / 2);
  h->begin_sweep(h->decay_sweep, true);
  EXPECT_EQ(h->sweep_slabs(h->decay_sweep, {UINT32_MAX, 32, UINT32_MAX}, items), 0u)
      << "nothing is left for a second one";
}

TEST_F(heap_test, purged_pages_of_slabs_do_not_count_as_resident) {
  allocate_many(class_1000, 2'000);
  put_all_but_each(50);
  const std::size_t before = page::resident_bytes();
  const std::size_t purged = purge_as_if();
  ASSERT_GT(purged, 0u);
  EXPECT_EQ(page::resident_bytes(), before - purged);
  free_all(); // slabs with purged pages go
  EXPECT_EQ(usage().purged_bytes, 0u);
  EXPECT_EQ(page::resident_bytes(), before);
}

TEST_F(heap_test, purged_pages_are_used_after_dirty_units) {
  page::purge_runs_above(0);
  allocate_many(class_1000, 2'000);
  put_all_but_each(50);
  const std::size_t purged = purge_as_if();
  ASSERT_GT(purged, 512 * KiB);
  allocate_many(class_of(500), 4'000); // dirty units, after this
  std::vector<void*> kept(blocks.begin(), blocks.begin() + 40);
  blocks.erase(blocks.begin(), blocks.begin() + 40);
  free_all();
  blocks = kept;
  ASSERT_GT(page::dirty_unit_bytes(), 512 * KiB);
  while (page::dirty_unit_bytes() != 0) {
    EXPECT_EQ(usage().purged_bytes, purged);
    allocate_many(class_1000, 1);
  }
  // What is on the way now is a slab of the last dirty unit; then come the purged pages.
  const std::size_t slabs = usage().slabs;
  allocate_many(class_1000, 64 * KiB / 1000 + purged / 1000 / 2);
  EXPECT_LT(usage().purged_bytes, purged * 3 / 4);
  EXPECT_LE(usage().slabs, slabs + 1);
}

TEST_F(heap_test, a_sweep_survives_what_happens_between_its_pieces) {
  std::mt19937 random(1);
  allocate_many(class_1000, 10'000);
  allocate_many(class_of(3000), 2'000);
  std::shuffle(blocks.begin(), blocks.end(), random);
  heap::purge_item items[heap::max_sweep_items];
  for (int sweep = 0; sweep < 20; ++sweep) {
    {
      owner_guard inside(h->lock);
      h->begin_sweep(h->decay_sweep, true);
      h->begin_sweep(h->growth_sweep, true);
    }
    while (h->decay_sweep.under_way() || h->growth_sweep.under_way()) {
      slab_sweep& one = random() % 2 == 0 ? h->decay_sweep : h->growth_sweep;
      unsigned count = 0;
      {
        owner_guard inside(h->lock);
        count = h->sweep_slabs(one, {16, 4, 16}, items);
      }
      for (unsigned at = 0; at < count; ++at)
        items[at].purged = random() % 4 != 0 ? items[at].pages : 0;
      const std::size_t left = blocks.size() - std::min<std::size_t>(blocks.size(), random() % 60);
      {
        owner_guard inside(h->lock);
        for (; blocks.size() != left; blocks.pop_back())
          h->put(blocks.back());
      }
      if (random() % 2 == 0)
        allocate_many(random() % 2 == 0 ? class_1000 : class_of(3000), random() % 60);
      owner_guard inside(h->lock);
      h->finish_purge(items, count);
      h->check_invariants();
    }
  }
}

TEST_F(heap_test, a_malloc_drains_a_bounded_part_of_the_pending_list) {
  constexpr unsigned large = class_of(16 * KiB);
  const std::size_t slab_bytes = std::size_t{size_classes[large].capacity} * 16 * KiB;
  allocate_many(large, 500 * slab_bytes / (16 * KiB));
  free_all_remotely();
  owner_guard inside(h->lock);
  const std::size_t held_before = h->usage().block_bytes;
  void* block = nullptr;
  unsigned fresh = 0;
  ASSERT_EQ(h->take(class_1000, &block, 1, fresh), 1u) << "nothing of what comes home is of use";
  blocks.push_back(block);
  const std::size_t came_home = held_before - h->usage().block_bytes;
  EXPECT_GE(came_home, 16 * KiB);
  EXPECT_LE(came_home, 32 * slab_bytes);
  unsigned rounds = 0;
  while (h->drain_some(10))
    ++rounds;
  EXPECT_GE(rounds, (500u - 32u) / 10 - 1);
  EXPECT_LE(h->usage().block_bytes, 2 * KiB);
}

TEST_F(heap_test, what_is_left_of_a_list_is_drained_before_what_came_later) {
  allocate_many(class_1000, 1000);
  free_all_remotely();
  {
    owner_guard inside(h->lock);
    EXPECT_TRUE(h->drain_some(1));
  }
  allocate_many(class_1000, 1000);
  free_all_remotely();
  owner_guard inside(h->lock);
  EXPECT_TRUE(h->has_pending());
  h->drain_pending();
  EXPECT_FALSE(h->has_pending());
  EXPECT_EQ(h->usage().block_bytes, 0u);
}

} // namespace
} // namespace mete::heap
