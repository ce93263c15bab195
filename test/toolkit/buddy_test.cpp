// SPDX-License-Identifier: MIT
#include <mete/buddy.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/containers.hpp"
#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::buddy>);

TEST(buddy, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    mete::buddy buddy({.arena_bytes = 1 << 21});
    mete::test::exercise(buddy, {.seed = seed});
    EXPECT_EQ(buddy.check_invariants(), nullptr);
    EXPECT_EQ(buddy.usage().used_bytes, 0u);
    EXPECT_EQ(buddy.largest_free(), std::size_t{1} << 21) << "everything must be joined again";
    EXPECT_EQ(buddy.check_invariants(), nullptr);
  }
}

TEST(buddy, random_use_of_a_full_span_agrees_with_the_model) {
  std::vector<std::byte> memory(123'457);
  for (std::size_t skipped = 0; skipped < 300; skipped += 61) {
    mete::buddy buddy({.memory = std::span(memory).subspan(skipped)});
    mete::test::exercise(buddy, {.seed = skipped, .max_size = 6000});
    EXPECT_EQ(buddy.check_invariants(), nullptr);
    EXPECT_GE(buddy.usage().reserved_bytes, memory.size() - skipped - 128) << "all is used";
    const std::size_t largest = buddy.largest_free();
    EXPECT_GE(largest, 16384u);
    buddy.trim();
    EXPECT_EQ(buddy.largest_free(), largest) << "the span stays";
  }
}

TEST(buddy, invariants_hold_at_every_step) {
  std::mt19937_64 random(4);
  std::vector<std::byte> memory(30'000);
  mete::buddy buddy({.memory = memory});
  mete::test::model blocks(buddy);
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0)
      static_cast<void>(blocks.allocate(random() % (random() % 3000 + 1), 16));
    else if (blocks.live() != 0)
      blocks.deallocate(random() % blocks.live());
    ASSERT_EQ(buddy.check_invariants(), nullptr);
    if (step % 50 == 0) {
      const std::size_t largest = buddy.largest_free();
      EXPECT_EQ(buddy.try_allocate(largest + 1), nullptr);
      if (largest != 0) {
        EXPECT_TRUE(blocks.allocate(largest, 1));
      }
    }
  }
  blocks.deallocate_all();
}

TEST(buddy, gives_each_of_its_blocks) {
  mete::heap_source source;
  mete::buddy buddy({.upstream = &source, .arena_bytes = 1 << 16, .min_block_bytes = 64});
  for (std::size_t size = 64; size <= 1 << 16; size *= 2) {
    std::set<void*> blocks;
    while (void* const block = buddy.try_allocate(size, size))
      blocks.insert(block);
    EXPECT_EQ(blocks.size(), (std::size_t{1} << 16) / size);
    EXPECT_EQ(buddy.usage().used_bytes, buddy.usage().reserved_bytes);
    mete::test::expect_exhaustion_is_told(buddy, size);
    for (void* const each : blocks)
      buddy.deallocate(each, size, size);
  }
  EXPECT_EQ(buddy.largest_free(), std::size_t{1} << 16);
  buddy.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
  EXPECT_NE(buddy.try_allocate(1), nullptr) << "it must be of use afterwards";
}

TEST(buddy, blocks_that_wait_are_joined_before_a_request_fails) {
  mete::buddy buddy({.arena_bytes = 4096});
  std::vector<void*> blocks(64);
  for (void*& each : blocks)
    each = buddy.allocate(64);
  for (void* const each : blocks)
    buddy.deallocate(each, 64);
  EXPECT_NE(buddy.try_allocate(4096), nullptr);
  EXPECT_EQ(buddy.check_invariants(), nullptr);
}

TEST(buddy, nothing_is_acquired_or_touched_before_it_is_needed) {
  std::vector<std::byte> memory(1 << 20, std::byte{0x77});
  mete::heap_source source;
  mete::buddy buddy({.upstream = &source, .memory = memory});
  EXPECT_EQ(source.usage().acquisitions, 0u);
  buddy.trim();
  EXPECT_EQ(source.usage().acquisitions, 0u);
  std::vector<void*> blocks;
  for (std::size_t size = 1; size <= 100'000; size *= 2)
    blocks.push_back(buddy.allocate(size));
  EXPECT_EQ(source.usage().acquisitions, 1u) << "the bits";
  for (std::size_t size = 1, at = 0; size <= 100'000; size *= 2, ++at)
    buddy.deallocate(blocks[at], size);
  buddy.trim();
  EXPECT_TRUE(std::all_of(memory.begin(), memory.end(),
                          [](std::byte each) { return each == std::byte{0x77}; }));
}

TEST(buddy, bits_take_less_than_a_hundredth) {
  for (const std::size_t arena_bytes : {std::size_t{4} << 20, std::size_t{64} << 20}) {
    mete::buddy buddy({.arena_bytes = arena_bytes});
    EXPECT_NE(buddy.try_allocate(1), nullptr);
    EXPECT_LT(buddy.metadata_bytes() * 100, arena_bytes);
  }
  mete::buddy pages({.arena_bytes = 64 << 20, .min_block_bytes = 4096});
  EXPECT_NE(pages.try_allocate(1), nullptr);
  EXPECT_LT(pages.metadata_bytes() * 1000, std::size_t{64} << 20);
}

TEST(buddy, serves_its_largest_block_and_each_alignment) {
  mete::buddy buddy({.arena_bytes = 128 << 20, .min_block_bytes = 4096});
  void* const all = buddy.allocate(128 << 20);
  EXPECT_EQ(buddy.largest_free(), 0u);
  buddy.deallocate(all, 128 << 20);
  mete::test::expect_alignments(buddy, 24);
  mete::test::expect_alignments(buddy, 5000, 1 << 20);
}

TEST(buddy, impossible_requests) {
  mete::buddy buddy({.name = "tiles", .arena_bytes = 1 << 16});
  mete::test::expect_impossible_requests_fail(buddy);
  mete::test::expect_exhaustion_is_told(buddy, (1 << 16) + 1);
  EXPECT_NE(buddy.try_allocate(0), nullptr);
  mete::test::expect_impossible_requests_fail(buddy);
}

TEST(buddy, options_that_cannot_be_give_nothing) {
  for (const std::size_t least :
       {std::size_t{0}, std::size_t{32}, std::size_t{96}, SIZE_MAX, std::size_t{1} << 63}) {
    mete::buddy buddy({.arena_bytes = 1 << 16, .min_block_bytes = least});
    EXPECT_EQ(buddy.try_allocate(1), nullptr);
    EXPECT_EQ(buddy.largest_free(), 0u);
  }
  for (const std::size_t bytes : {std::size_t{0}, SIZE_MAX, std::size_t{63}}) {
    mete::buddy buddy({.arena_bytes = bytes});
    EXPECT_EQ(buddy.try_allocate(1), nullptr);
    buddy.trim();
  }
}

TEST(buddy, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::buddy buddy({.upstream = &source, .arena_bytes = 1 << 16});
    for (int round = 0; round < 3; ++round) {
      mete::test::model blocks(buddy);
      for (std::size_t size = 1; size < 3000; size += 100)
        static_cast<void>(blocks.allocate(size, 8));
      EXPECT_EQ(buddy.check_invariants(), nullptr);
      blocks.deallocate_all();
      buddy.trim();
    }
  });
}

TEST(buddy, a_source_without_large_alignments_serves_too) {
  std::vector<std::byte> memory(100'000);
  mete::buffer_source source(memory);
  mete::buddy buddy({.upstream = &source, .arena_bytes = 80'000});
  mete::test::exercise(buddy, {.max_size = 4000, .max_alignment = 1024});
  EXPECT_EQ(buddy.check_invariants(), nullptr);
}

// Powers of two, freed at random: what is free can serve the mean request.
TEST(buddy, fragmentation_stays_low) {
  std::mt19937_64 random(3);
  mete::buddy buddy({.arena_bytes = 64 << 20});
  std::vector<std::pair<std::byte*, std::size_t>> blocks;
  std::size_t live_bytes = 0;
  std::size_t live_peak = 0;
  std::uintptr_t low = UINTPTR_MAX;
  std::uintptr_t high = 0;
  for (int step = 0; step < 400'000; ++step) {
    const std::size_t size = std::size_t{64} << (random() % 10);
    auto* const block = static_cast<std::byte*>(buddy.allocate(size));
    blocks.emplace_back(block, size);
    low = std::min(low, reinterpret_cast<std::uintptr_t>(block));
    high = std::max(high, reinterpret_cast<std::uintptr_t>(block) + size);
    live_bytes += size;
    live_peak = std::max(live_peak, live_bytes);
    while (blocks.size() > 5000) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      live_bytes -= blocks.back().second;
      buddy.deallocate(blocks.back().first, blocks.back().second);
      blocks.pop_back();
    }
  }
  const double high_water = static_cast<double>(high - low) / static_cast<double>(live_peak);
  RecordProperty("high_water_per_live", std::to_string(high_water));
  EXPECT_LT(high_water, 1.15);
}

class buddy_resource final : public std::pmr::memory_resource {
public:
  explicit buddy_resource(mete::buddy& buddy) : buddy_(buddy) {}

private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return buddy_.allocate(bytes, alignment);
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    buddy_.deallocate(block, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  mete::buddy& buddy_;
};

TEST(buddy, containers_work) {
  mete::buddy buddy({.arena_bytes = 8 << 20});
  buddy_resource resource(buddy);
  mete::test::expect_containers_work(resource);
  EXPECT_EQ(buddy.check_invariants(), nullptr);
  EXPECT_EQ(buddy.usage().used_bytes, 0u);
}

TEST(buddy_death_test, misuse) {
  mete::buddy buddy({.name = "tiles", .arena_bytes = 1 << 16});
  int elsewhere = 0;
  EXPECT_DEATH(buddy.deallocate(&elsewhere, 4), "tiles: foreign free");
  auto* const one = static_cast<std::byte*>(buddy.allocate(256));
  auto* const two = static_cast<std::byte*>(buddy.allocate(256));
  EXPECT_DEATH(buddy.deallocate(&elsewhere, 4), "tiles: foreign free");
  EXPECT_DEATH(buddy.deallocate(nullptr, 4), "tiles: foreign free");
  EXPECT_DEATH(buddy.deallocate(one, 1 << 20), "tiles: foreign free");
  EXPECT_DEATH(buddy.deallocate(one, SIZE_MAX), "tiles: foreign free");
  EXPECT_DEATH(buddy.deallocate(one + 16, 256), "tiles: double free");
  EXPECT_DEATH(buddy.deallocate(one, 64), "tiles: double free") << "the size is wrong";
  EXPECT_DEATH(buddy.deallocate(one, 512), "tiles: double free") << "the size is wrong";
  buddy.deallocate(one, 256);
  EXPECT_DEATH(buddy.deallocate(one, 256), "tiles: double free") << "it waits";
  buddy.deallocate(two, 256);
  static_cast<void>(buddy.largest_free());
  EXPECT_DEATH(buddy.deallocate(two, 256), "tiles: double free") << "it is joined";
}

} // namespace
