// A thread's cache between its thread and its heap. The thread here is a state of the test's own.
//
// SPDX-License-Identifier: MIT
#include "heap/cache.hpp"

#include "base/options.hpp"
#include "heap/heap_for_test.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"
#include "page/region.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

namespace mete::heap {
namespace {

class cache_test : public testing::Test {
protected:
  cache_test() {
    os::initialise_memory();
    for (cache_bin& bin : thread.bins)
      bin.top = empty_bin;
    thread.tag = tag_of_nobody;
    h = acquire_heap(&thread);
    owner_guard inside(h->lock);
    adopt_cache(*h, thread);
    held_before = h->usage().block_bytes;
  }
  ~cache_test() override {
    {
      owner_guard inside(h->lock);
      empty_cache(*h, thread);
      EXPECT_EQ(cached_bytes(), 0u);
      EXPECT_EQ(h->cached_limit_bytes, 0u);
      EXPECT_EQ(h->usage().block_bytes, held_before) << "every block is back in its slab";
      settle(*h);
      h->check_invariants();
    }
    abandon_heap(*h);
    options.thread_cache_bytes.store(budget_before);
  }

  void* pop(unsigned class_index) {
    cache_bin& bin = thread.bins[class_index];
    if (*bin.top != nullptr)
      return *bin.top--;
    owner_guard inside(h->lock);
    return refill(*h, thread, class_index);
  }
  void push(unsigned class_index, void* block) {
    cache_bin& bin = thread.bins[class_index];
    if (!is_full(bin)) {
      *++bin.top = block;
      return;
    }
    owner_guard inside(h->lock);
    overflow(*h, thread, class_index, block);
  }
  void shrink() {
    owner_guard inside(h->lock);
    shrink_idle(*h, thread);
  }
  const cache_array& array(unsigned class_index) const { return h->classes[class_index].cache; }
  std::size_t filled(unsigned class_index) const {
    return static_cast<std::size_t>(thread.bins[class_index].top - array(class_index).slots);
  }
  // What the arrays may hold beyond what each has at first.
  std::size_t growth_bytes() const {
    std::size_t bytes = 0;
    for (unsigned index = 0; index < class_count; ++index)
      if (const unsigned initial = size_classes[index].initial_cached;
          array(index).slots != nullptr)
        bytes += std::size_t{array(index).capacity - initial} * size_classes[index].block_bytes;
    return bytes;
  }

  std::size_t cached_bytes() const {
    std::size_t bytes = 0;
    for (unsigned index = 0; index < class_count; ++index)
      if (array(index).slots != nullptr)
        bytes += filled(index) * size_classes[index].block_bytes;
    return bytes;
  }

  // Makes the class's array as large as it gets; afterwards it is empty.
  void grow_fully(unsigned class_index) {
    std::vector<void*> blocks;
    for (unsigned before = 1; before != array(class_index).capacity;) {
      before = array(class_index).capacity;
      for (unsigned count = 0; count < 4 * before + 8; ++count)
        blocks.push_back(pop(class_index));
    }
    owner_guard inside(h->lock);
    h->put_many(class_index, blocks.data(), static_cast<unsigned>(blocks.size()));
  }

  // Empties the cache again and again, without growth of the heap.
  void miss_often(unsigned class_index, int times) {
    while (times-- > 0) {
      std::vector<void*> blocks;
      do
        blocks.push_back(pop(class_index));
      while (*thread.bins[class_index].top != nullptr);
      owner_guard inside(h->lock);
      h->put_many(class_index, blocks.data(), static_cast<unsigned>(blocks.size()));
    }
  }

  thread_state thread{};
  heap* h = nullptr;
  std::size_t held_before = 0;
  long long budget_before = option(options.thread_cache_bytes);
};

TEST_F(cache_test, blocks_are_distinct_and_their_own) {
  constexpr unsigned index = 4;
  std::set<void*> seen;
  std::vector<char*> blocks;
  for (int count = 0; count < 3000; ++count) {
    auto* const block = static_cast<char*>(pop(index));
    ASSERT_NE(block, nullptr);
    ASSERT_TRUE(seen.insert(block).second);
    std::memset(block, count % 251, size_classes[index].block_bytes);
    blocks.push_back(block);
  }
  for (std::size_t at = 0; at < blocks.size(); ++at) {
    const auto expected = static_cast<char>(at % 251);
    ASSERT_TRUE(std::all_of(blocks[at], blocks[at] + size_classes[index].block_bytes,
                            [=](char byte) { return byte == expected; }));
    push(index, blocks[at]);
  }
}

TEST_F(cache_test, a_refill_hands_out_the_lowest_address_first) {
  constexpr unsigned index = 20;
  std::vector<void*> blocks{pop(index)};
  while (*thread.bins[index].top != nullptr)
    blocks.push_back(pop(index));
  EXPECT_GT(blocks.size(), 1u);
  EXPECT_TRUE(std::is_sorted(blocks.begin(), blocks.end(), std::less<>()));
  for (void* each : blocks)
    push(index, each);
}

TEST_F(cache_test, what_was_freed_last_is_reused_first) {
  void* const first = pop(7);
  void* const second = pop(7);
  push(7, first);
  push(7, second);
  EXPECT_EQ(pop(7), second);
  EXPECT_EQ(pop(7), first);
  push(7, first);
  push(7, second);
}

TEST_F(cache_test, capacity_grows_with_misses_up_to_the_classes_bound) {
  options.thread_cache_bytes.store(1 << 30);
  constexpr unsigned index = 3;
  push(index, pop(index));
  EXPECT_EQ(array(index).capacity, size_classes[index].initial_cached);
  grow_fully(index);
  EXPECT_GT(array(index).capacity, size_classes[index].initial_cached);
  EXPECT_LE(array(index).capacity, size_classes[index].max_cached);
  EXPECT_EQ(array(index).slots[array(index).capacity + 1], reinterpret_cast<void*>(end_of_array));
  EXPECT_EQ(h->cached_limit_bytes, growth_bytes());
}

TEST_F(cache_test, the_threads_budget_bounds_all_arrays_together) {
  options.thread_cache_bytes.store(64 * 1024);
  for (unsigned index : {10u, 20u, 30u, 40u})
    grow_fully(index);
  EXPECT_GE(h->cached_limit_bytes, 32 * KiB);
  EXPECT_LE(h->cached_limit_bytes, 64 * KiB);
  EXPECT_EQ(h->cached_limit_bytes, growth_bytes());
}

TEST_F(cache_test, a_small_heap_gets_a_small_budget) {
  options.thread_cache_bytes.store(1 << 30);
  for (unsigned index : {15u, 23u, 31u}) {
    std::vector<void*> blocks;
    for (int round = 0; round < 100; ++round) { // misses without growth of the heap
      while (blocks.size() < 64 * KiB / class_block_bytes(index))
        blocks.push_back(pop(index));
      owner_guard inside(h->lock);
      h->put_many(index, blocks.data(), static_cast<unsigned>(blocks.size()));
      blocks.clear();
    }
  }
  EXPECT_LE(h->footprint_bytes, 1 * MiB);
  EXPECT_GE(h->cached_limit_bytes, 96 * KiB);
  EXPECT_LE(h->cached_limit_bytes, 192 * KiB);
}

TEST_F(cache_test, a_busy_class_takes_what_idle_ones_have_grown_by) {
  options.thread_cache_bytes.store(64 * 1024);
  constexpr unsigned idle = 10, small = 12, busy = 20;
  push(small, pop(small));
  grow_fully(idle);
  ASSERT_GE(h->cached_limit_bytes, 32 * KiB);
  const unsigned grown = array(idle).capacity;
  push(idle, pop(idle));
  ASSERT_NE(filled(idle), 0u);
  void** const slots = array(idle).slots;
  miss_often(busy, 64);
  EXPECT_GT(array(busy).capacity, 4 * size_classes[busy].initial_cached);
  EXPECT_LE(h->cached_limit_bytes, 64 * KiB);
  EXPECT_EQ(array(idle).capacity, size_classes[idle].initial_cached);
  EXPECT_EQ(filled(idle), 0u) << "what it held is back in its slabs";
  EXPECT_EQ(array(small).capacity, size_classes[small].initial_cached) << "nothing to take there";
  EXPECT_EQ(array(idle).slots, slots) << "it grows again without new memory";
  EXPECT_GE(array(idle).room, grown);
}

TEST_F(cache_test, arrays_that_grew_little_outlive_the_thread) {
  options.thread_cache_bytes.store(1 << 30);
  constexpr unsigned little = 3, far = 4;
  push(little, pop(little));
  grow_fully(far);
  ASSERT_GT(array(far).capacity, 8 * size_classes[far].initial_cached);
  {
    owner_guard inside(h->lock);
    leave_cache(*h, thread);
  }
  EXPECT_EQ(thread.bins[little].top, empty_bin);
  EXPECT_NE(array(little).slots, nullptr);
  EXPECT_EQ(array(far).slots, nullptr);
  owner_guard inside(h->lock);
  adopt_cache(*h, thread);
  EXPECT_EQ(thread.bins[little].top, array(little).slots);
  EXPECT_EQ(thread.bins[far].top, empty_bin);
}

TEST_F(cache_test, many_short_threads_do_not_make_arrays_grow) {
  constexpr unsigned index = 45;
  push(index, pop(index));
  void** const slots = array(index).slots;
  for (int thread_number = 0; thread_number < 20; ++thread_number) {
    owner_guard inside(h->lock);
    leave_cache(*h, thread);
    adopt_cache(*h, thread);
    h->put(refill(*h, thread, index)); // one miss in each
  }
  EXPECT_EQ(array(index).capacity, size_classes[index].initial_cached);
  EXPECT_EQ(array(index).slots, slots);
}

TEST_F(cache_test, an_overflow_returns_the_oldest_half) {
  constexpr unsigned index = 5;
  std::vector<void*> blocks;
  push(index, pop(index));
  while (blocks.size() <= array(index).capacity)
    blocks.push_back(pop(index));
  owner_guard inside(h->lock);
  empty_cache(*h, thread);
  overflow(*h, thread, index, blocks[0]); // makes a new array
  const std::size_t capacity = array(index).capacity;
  std::size_t next = 1;
  while (!is_full(thread.bins[index]))
    *++thread.bins[index].top = blocks[next++];
  h->classes[index].cache.misses = 0; // so that it does not grow instead
  overflow(*h, thread, index, blocks[next]);
  ASSERT_EQ(array(index).capacity, capacity);
  EXPECT_EQ(filled(index), capacity / 2 + 1);
  for (std::size_t kept = 0; kept <= capacity / 2; ++kept)
    EXPECT_EQ(thread.bins[index].top[-static_cast<std::ptrdiff_t>(kept)], blocks[next - kept]);
  EXPECT_EQ(array(index).slots[0], nullptr) << "the null that says empty";
  for (++next; next < blocks.size(); ++next)
    h->put(blocks[next]);
}

TEST_F(cache_test, blocks_said_to_be_zero_are_zero) {
  constexpr unsigned index = 40; // 2 KiB
  const std::size_t bytes = size_classes[index].block_bytes;
  page::purge_runs_above(0); // so that there is fresh memory
  std::vector<void*> blocks;
  const auto take_many = [&](unsigned count) {
    unsigned zeroed_blocks = 0;
    while (count-- > 0) {
      bool zeroed = false;
      owner_guard inside(h->lock);
      auto* const block = static_cast<char*>(take_for_calloc(*h, thread, index, zeroed));
      const bool is_zero = std::all_of(block, block + bytes, [](char byte) { return byte == 0; });
      EXPECT_TRUE(is_zero || !zeroed);
      zeroed_blocks += zeroed;
      std::memset(block, 1, bytes);
      blocks.push_back(block);
    }
    return zeroed_blocks;
  };
  EXPECT_GT(take_many(300), 250u) << "fresh memory needs no clearing";
  for (std::size_t at = 0; at < blocks.size(); at += 2) // every second one goes to its slab
    h->put(blocks[at]);
  for (std::size_t at = 1; at < blocks.size(); at += 2)
    blocks[at / 2] = blocks[at];
  blocks.resize(blocks.size() / 2);
  EXPECT_LT(take_many(150), 50u) << "used blocks come first";
  for (void* each : blocks)
    push(index, each);
  blocks.clear();
  EXPECT_EQ(take_many(1), 0u) << "from the cache";
  push(index, blocks[0]);
}

TEST_F(cache_test, idle_arrays_shrink_and_go) {
  constexpr unsigned index = 3;
  options.thread_cache_bytes.store(1 << 30);
  grow_fully(index);
  const unsigned large = array(index).capacity;
  std::vector<void*> blocks;
  for (unsigned count = 0; count < large; ++count)
    blocks.push_back(pop(index));
  for (void* each : blocks)
    push(index, each);
  shrink(); // it has missed since the last look
  EXPECT_EQ(array(index).capacity, large);
  const std::size_t before = filled(index);
  shrink();
  EXPECT_EQ(filled(index), before / 2);
  EXPECT_EQ(array(index).capacity, large / 2);
  for (int round = 0; round < 16; ++round)
    shrink();
  EXPECT_EQ(array(index).slots, nullptr);
  EXPECT_EQ(thread.bins[index].top, empty_bin);
  EXPECT_EQ(cached_bytes(), 0u);
}

// A second heap, whose blocks the fixture's thread frees.
class foreign_blocks_test : public cache_test {
protected:
  ~foreign_blocks_test() override { abandon_heap(*other); }

  std::vector<void*> take_foreign(heap& from, unsigned class_index, unsigned count) {
    owner_guard inside(from.lock);
    std::vector<void*> blocks(count);
    unsigned fresh_from = 0;
    for (unsigned taken = 0; taken < count;)
      taken += from.take(class_index, blocks.data() + taken, count - taken, fresh_from);
    return blocks;
  }
  static std::size_t blocks_out(heap& of) {
    owner_guard inside(of.lock);
    of.drain_pending();
    return of.usage().block_bytes;
  }
  bool keep(void* block) {
    return keep_foreign(*h, thread, page::locate(block).tag->load(), block);
  }

  thread_state other_thread{};
  heap* other = acquire_heap(&other_thread);
};

TEST_F(foreign_blocks_test, up_to_half_an_array_is_kept_and_goes_home_when_flushed) {
  constexpr unsigned index = 9;
  const std::size_t out_before = blocks_out(*other);
  void* const own = pop(index); // the thread uses the class
  {
    owner_guard inside(h->lock);
    empty_cache(*h, thread);
    overflow(*h, thread, index, own);
  }
  const unsigned half = array(index).capacity / 2u;
  const std::vector<void*> blocks = take_foreign(*other, index, half + 1);
  std::size_t kept = 0;
  while (kept < blocks.size() && keep(blocks[kept]))
    ++kept;
  EXPECT_EQ(filled(index), half);
  EXPECT_EQ(kept, half - 1);
  EXPECT_EQ(pop(index), blocks[kept - 1]) << "what came last is taken first";
  EXPECT_TRUE(keep(blocks[kept - 1]));
  {
    owner_guard inside(h->lock);
    for (; kept < blocks.size(); ++kept)
      h->put_remote(page::locate(blocks[kept]).tag->load(), blocks[kept]);
    empty_cache(*h, thread);
    h->deliver_outbox();
  }
  EXPECT_EQ(blocks_out(*other), out_before);
}

TEST_F(foreign_blocks_test, classes_that_the_thread_does_not_use_are_not_kept) {
  constexpr unsigned index = 30;
  ASSERT_EQ(array(index).slots, nullptr);
  const std::vector<void*> blocks = take_foreign(*other, index, 1);
  EXPECT_FALSE(keep(blocks[0]));
  owner_guard inside(other->lock);
  other->put(blocks[0]);
}

TEST_F(foreign_blocks_test, blocks_that_share_cache_lines_are_not_kept) {
  for (const unsigned index : {0u, class_of(cache_line_bytes) - 1}) {
    push(index, pop(index));
    const std::vector<void*> blocks = take_foreign(*other, index, 1);
    EXPECT_FALSE(keep(blocks[0]));
    owner_guard inside(other->lock);
    other->put(blocks[0]);
  }
}

} // namespace
} // namespace mete::heap
