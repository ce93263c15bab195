// SPDX-License-Identifier: MIT
#include <mete/region_heap.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/containers.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::region_heap>);

TEST(region_heap, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    std::vector<std::byte> memory(1 << 20);
    mete::region_heap heap({.memory = memory});
    const std::size_t all = heap.largest_free();
    mete::test::exercise(heap, {.seed = seed});
    EXPECT_EQ(heap.check_invariants(), nullptr);
    EXPECT_EQ(heap.usage().used_bytes, 0u);
    EXPECT_EQ(heap.largest_free(), all) << "everything must be joined again";
  }
}

TEST(region_heap, random_use_in_a_full_heap_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    std::vector<std::byte> memory(100'003);
    mete::region_heap heap({.memory = std::span(memory).subspan(3)});
    mete::test::exercise(heap, {.seed = seed, .max_size = 5000, .max_alignment = 1 << 14});
    EXPECT_EQ(heap.check_invariants(), nullptr);
  }
}

TEST(region_heap, largest_free_is_what_can_be_had) {
  std::mt19937_64 random(5);
  std::vector<std::byte> memory(200'000);
  mete::region_heap heap({.memory = memory});
  mete::test::model blocks(heap);
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0)
      static_cast<void>(blocks.allocate(random() % 4000, std::size_t{1} << (random() % 9)));
    else if (blocks.live() != 0)
      blocks.deallocate(random() % blocks.live());
    const std::size_t largest = heap.largest_free();
    EXPECT_EQ(heap.try_allocate(largest + 1), nullptr);
    if (largest != 0) {
      void* const block = heap.try_allocate(largest);
      ASSERT_NE(block, nullptr) << largest;
      heap.deallocate(block);
    }
    if (step % 100 == 0) {
      ASSERT_EQ(heap.check_invariants(), nullptr);
    }
  }
  blocks.deallocate_all();
}

TEST(region_heap, blocks_grow_and_shrink_with_their_contents) {
  std::mt19937_64 random(9);
  std::vector<std::byte> memory(300'000);
  mete::region_heap heap({.memory = memory});
  struct block {
    unsigned char* memory;
    std::size_t size;
    unsigned char fill;
  };
  std::vector<block> blocks(60, {nullptr, 0, 0});
  int moved = 0;
  int stayed = 0;
  for (int step = 0; step < 20'000; ++step) {
    block& each = blocks[random() % blocks.size()];
    const std::size_t size = random() % 6000;
    void* const now = heap.try_reallocate(each.memory, each.size, size, 32);
    if (now == nullptr) {
      if (each.memory != nullptr)
        heap.deallocate(each.memory);
      each = {nullptr, 0, 0};
      continue;
    }
    (now == each.memory ? stayed : moved) += 1;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(now) % 32, 0u);
    const auto* const bytes = static_cast<unsigned char*>(now);
    const std::size_t common = std::min(size, each.size);
    EXPECT_EQ(std::count(bytes, bytes + common, each.fill), static_cast<std::ptrdiff_t>(common));
    each = {static_cast<unsigned char*>(now), size, static_cast<unsigned char>(step)};
    std::memset(now, each.fill, size);
    if (step % 100 == 0) {
      ASSERT_EQ(heap.check_invariants(), nullptr);
    }
  }
  EXPECT_GT(moved, 1000);
  EXPECT_GT(stayed, 1000);
}

TEST(region_heap, expands_only_into_what_is_free_behind) {
  std::vector<std::byte> memory(10'000);
  mete::region_heap heap({.memory = memory});
  void* const one = heap.allocate(1000);
  void* const two = heap.allocate(1000);
  void* const three = heap.allocate(1000);
  EXPECT_FALSE(heap.try_expand(one, 1000, 1500));
  heap.deallocate(two);
  EXPECT_TRUE(heap.try_expand(one, 1000, 1500));
  EXPECT_FALSE(heap.try_expand(one, 1500, 2100));
  EXPECT_FALSE(heap.try_expand(one, 1500, SIZE_MAX));
  EXPECT_TRUE(heap.try_expand(one, 1500, 0));
  EXPECT_EQ(heap.try_reallocate(one, 0, 1'000'000), nullptr);
  EXPECT_EQ(heap.check_invariants(), nullptr);
  heap.deallocate(one);
  heap.deallocate(three);
  EXPECT_EQ(heap.usage().used_bytes, 0u);
}

TEST(region_heap, regions_come_and_go) {
  std::vector<std::byte> first(10'000);
  std::vector<std::byte> second(50'000);
  mete::region_heap heap;
  EXPECT_EQ(heap.try_allocate(1), nullptr);
  EXPECT_EQ(heap.largest_free(), 0u);
  EXPECT_FALSE(heap.add_region(std::span(first).first(60)));
  EXPECT_TRUE(heap.add_region(first));
  EXPECT_FALSE(heap.add_region(first)) << "twice";
  EXPECT_FALSE(heap.add_region(std::span(first).subspan(5000)));
  void* const small = heap.allocate(100);
  EXPECT_EQ(heap.try_allocate(40'000), nullptr);
  EXPECT_TRUE(heap.add_region(second));
  void* const large = heap.allocate(40'000);
  EXPECT_TRUE(heap.owns(small));
  EXPECT_TRUE(heap.owns(large));
  EXPECT_FALSE(heap.owns(&heap));
  EXPECT_FALSE(heap.remove_region(first)) << "a block lives";
  EXPECT_FALSE(heap.remove_region(second));
  heap.deallocate(large);
  EXPECT_FALSE(heap.remove_region(std::span(second).subspan(16))) << "no region";
  EXPECT_FALSE(heap.remove_region(std::span(second).first(1000)));
  EXPECT_TRUE(heap.remove_region(second));
  EXPECT_FALSE(heap.remove_region(second));
  std::fill(second.begin(), second.end(), std::byte{1}); // it is the caller's again
  EXPECT_EQ(heap.check_invariants(), nullptr);
  EXPECT_FALSE(heap.owns(large));
  heap.deallocate(small);
  EXPECT_TRUE(heap.remove_region(first));
  EXPECT_EQ(heap.usage().reserved_bytes, 0u);
  EXPECT_TRUE(heap.add_region(first)) << "it must be of use afterwards";
  EXPECT_NE(heap.try_allocate(9000), nullptr);
}

TEST(region_heap, for_each_block_shows_all_of_them) {
  std::vector<std::byte> memory(10'000);
  mete::region_heap heap({.memory = memory});
  void* const one = heap.allocate(100);
  void* const two = heap.allocate(200);
  heap.deallocate(one);
  std::vector<mete::region_heap::block_view> seen;
  heap.for_each_block([&](const mete::region_heap::block_view& each) { seen.push_back(each); });
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].memory, one);
  EXPECT_TRUE(seen[0].is_free);
  EXPECT_EQ(seen[1].memory, two);
  EXPECT_FALSE(seen[1].is_free);
  EXPECT_GE(seen[1].bytes, 200u);
  EXPECT_EQ(seen[2].bytes, heap.largest_free());
}

TEST(region_heap, alignments) {
  std::vector<std::byte> memory(1 << 20);
  mete::region_heap heap({.memory = memory});
  mete::test::expect_alignments(heap, 24);
  mete::test::expect_alignments(heap, 5000, 1 << 18);
  std::vector<void*> blocks; // each gap before an aligned block is a block
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2)
    for (const std::size_t size : {1U, 24U, 25U, 100U})
      blocks.push_back(heap.allocate(size, alignment));
  EXPECT_EQ(heap.check_invariants(), nullptr);
  for (void* const each : blocks)
    heap.deallocate(each);
  EXPECT_EQ(heap.check_invariants(), nullptr);
}

TEST(region_heap, impossible_requests) {
  std::vector<std::byte> memory(100'000);
  mete::region_heap heap({.name = "control", .memory = memory});
  mete::test::expect_impossible_requests_fail(heap);
  mete::test::expect_exhaustion_is_told(heap, 100'000);
  void* const nothing = heap.try_allocate(0);
  EXPECT_NE(nothing, nullptr);
  heap.deallocate(nothing);
}

// Adapts the heap until the toolkit has its own adapter.
class heap_resource final : public std::pmr::memory_resource {
public:
  explicit heap_resource(mete::region_heap& heap) : heap_(heap) {}

private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return heap_.allocate(bytes, alignment);
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    heap_.deallocate(block, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  mete::region_heap& heap_;
};

TEST(region_heap, containers_work) {
  std::vector<std::byte> memory(4 << 20);
  mete::region_heap heap({.memory = memory});
  heap_resource resource(heap);
  mete::test::expect_containers_work(resource);
  EXPECT_EQ(heap.check_invariants(), nullptr);
  EXPECT_EQ(heap.usage().used_bytes, 0u);
}

// Sizes mixed as in programs, frees at random: what is free can be used, and little is wasted.
TEST(region_heap, fragmentation_stays_low) {
  std::mt19937_64 random(3);
  std::vector<std::byte> memory(32 << 20);
  mete::region_heap heap({.memory = memory});
  constexpr std::size_t mean_size = 1028;
  std::vector<std::pair<std::byte*, std::size_t>> blocks;
  std::size_t live_bytes = 0;
  std::size_t live_peak = 0;
  std::byte* high = memory.data();
  for (int step = 0; step < 400'000; ++step) {
    if (blocks.size() < 10'000 || random() % 2 == 0) {
      const std::size_t size = 8 + random() % (random() % 4 == 0 ? 7000 : 400);
      blocks.emplace_back(static_cast<std::byte*>(heap.allocate(size)), size);
      high = std::max(high, blocks.back().first + size);
      live_bytes += size;
      live_peak = std::max(live_peak, live_bytes);
    }
    while (blocks.size() > 10'000) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      live_bytes -= blocks.back().second;
      heap.deallocate(blocks.back().first);
      blocks.pop_back();
    }
  }
  std::size_t free_below = 0;
  std::size_t unfit = 0;
  heap.for_each_block([&](const mete::region_heap::block_view& each) {
    if (!each.is_free || static_cast<std::byte*>(each.memory) >= high)
      return;
    free_below += each.bytes;
    unfit += each.bytes < mean_size ? each.bytes : 0;
  });
  const auto used = static_cast<double>(high - memory.data());
  RecordProperty("high_water_per_live", std::to_string(used / static_cast<double>(live_peak)));
  RecordProperty("unfit_share", std::to_string(static_cast<double>(unfit) / used));
  EXPECT_LT(used / static_cast<double>(live_peak), 1.15);
  EXPECT_LT(static_cast<double>(unfit) / used, 0.05);
}

class region_heap_death_test : public testing::Test {
protected:
  std::vector<std::byte> memory_ = std::vector<std::byte>(10'000);
  mete::region_heap heap_{{.name = "control", .memory = memory_}};
};

TEST_F(region_heap_death_test, a_foreign_block) {
  int elsewhere = 0;
  EXPECT_DEATH(heap_.deallocate(&elsewhere), "control: foreign free");
  EXPECT_DEATH(heap_.deallocate(nullptr), "control: foreign free");
  auto* const block = static_cast<std::byte*>(heap_.allocate(100));
  EXPECT_DEATH(heap_.deallocate(block + 1), "control: foreign free");
  std::memset(block, 0x5a, 100);
  EXPECT_DEATH(heap_.deallocate(block + 16), "control: damage");
}

TEST_F(region_heap_death_test, a_block_freed_twice) {
  void* const one = heap_.allocate(100);
  void* const two = heap_.allocate(100);
  void* const three = heap_.allocate(100);
  heap_.deallocate(one);
  EXPECT_DEATH(heap_.deallocate(one), "control: double free");
  EXPECT_DEATH(static_cast<void>(heap_.try_expand(one, 100, 200)), "control: double free");
  heap_.deallocate(two); // joined with the one before
  EXPECT_DEATH(heap_.deallocate(two), "control: double free");
  heap_.deallocate(three); // joined with both sides
  for (void* const each : {one, two, three})
    EXPECT_DEATH(heap_.deallocate(each), "control: double free");
}

TEST_F(region_heap_death_test, a_block_of_another_heap) {
  std::vector<std::byte> memory(10'000);
  mete::region_heap other({.name = "other", .memory = memory});
  EXPECT_DEATH(heap_.deallocate(other.allocate(10)), "control: (foreign free|damage)");
}

[[gnu::no_sanitize_address]] void overwrite(void* at, unsigned bytes) {
  for (auto* each = static_cast<volatile unsigned char*>(at); bytes != 0; --bytes)
    *each++ = 0x77;
}

TEST_F(region_heap_death_test, tags_and_links_that_were_overwritten) {
  auto* const one = static_cast<std::byte*>(heap_.allocate(104));
  void* const two = heap_.allocate(104);
  static_cast<void>(heap_.allocate(104));
  EXPECT_DEATH((overwrite(one + 104, 1), heap_.deallocate(one)), "control: damage");
  EXPECT_DEATH((overwrite(one + 104, 8), heap_.deallocate(two)), "control: damage");
  heap_.deallocate(one);
  EXPECT_DEATH((overwrite(one, 16), heap_.deallocate(two)), "control: damage") << "links";
  EXPECT_DEATH((overwrite(one + 96, 8), heap_.deallocate(two)), "control: damage") << "size";
  EXPECT_DEATH((overwrite(one - 8, 2), static_cast<void>(heap_.check_invariants())),
               "control: damage");
}

#if defined(METE_DETAIL_ASAN)
TEST_F(region_heap_death_test, what_is_not_the_callers_cannot_be_touched) {
  auto* const block = static_cast<volatile unsigned char*>(heap_.allocate(100));
  EXPECT_DEATH(block[100] = 1, "use-after-poison");
  EXPECT_DEATH(block[-1] = 1, "use-after-poison");
  heap_.deallocate(const_cast<unsigned char*>(block));
  for (const int at : {0, 8, 50, 96})
    EXPECT_DEATH(block[at] = 1, "use-after-poison");
}
#endif

} // namespace
