// SPDX-License-Identifier: MIT
#include <mete/slab_cache.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::slab_cache>);

TEST(slab_geometry, numbers_are_those_of_blocks_and_of_nothing_else) {
  for (std::size_t bytes = 1; bytes <= 5000; bytes += bytes < 300 ? 1 : 97) {
    for (const std::size_t alignment : {1u, 8u, 16u, 64u, 4096u}) {
      const auto at = mete::detail::slab_geometry::of(bytes, alignment);
      ASSERT_GT(at.capacity, 0u);
      ASSERT_LE(at.words(), 64u);
      const std::size_t end = at.begin + at.capacity * at.block_bytes;
      ASSERT_LE(end + (at.colours - 1) * at.colour_step, at.slab_bytes);
      ASSERT_LE((at.slab_bytes - at.capacity * at.block_bytes) * 8, at.slab_bytes)
          << "more than an eighth is lost, " << bytes << ", " << alignment;
      for (std::uint32_t offset = 0; offset < at.slab_bytes; ++offset) {
        const std::uint32_t number = at.index_of(offset);
        if (offset % at.block_bytes == 0) {
          ASSERT_EQ(number, offset / at.block_bytes);
        } else {
          ASSERT_GE(number, at.capacity);
        }
      }
      for (std::uint32_t before = 1; before < at.begin + 64; ++before)
        ASSERT_GE(at.index_of(0 - before), at.capacity) << "in the header";
    }
  }
}

TEST(slab_cache, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    mete::slab_cache cache(
        {.block_bytes = 200, .alignment = 64, .max_empty_bytes = (seed - 1) * 16384});
    mete::test::exercise(cache,
                         {.seed = seed, .live_limit = 3000, .max_size = 200, .max_alignment = 64});
    EXPECT_EQ(cache.check_invariants(), nullptr);
    EXPECT_EQ(cache.live_blocks(), 0u);
    cache.trim();
    EXPECT_EQ(cache.usage().reserved_bytes, 0u);
  }
}

TEST(slab_cache, rising_and_falling_use_agrees_with_the_model) {
  for (const std::size_t bytes : {1u, 24u, 128u, 1000u, 5000u}) {
    std::mt19937_64 random(bytes);
    mete::heap_source source;
    mete::slab_cache cache({.upstream = &source,
                            .block_bytes = bytes,
                            .alignment = 1,
                            .slab_bytes = 4096,
                            .max_empty_bytes = 2 * 4096});
    mete::test::model blocks(cache);
    for (int step = 0; step < 20'000; ++step) {
      const bool growing = step / 2000 % 2 == 0;
      if (blocks.live() == 0 || (random() % 100 < (growing ? 80u : 20u) && blocks.live() < 1500)) {
        ASSERT_TRUE(blocks.allocate(random() % (bytes + 1), 1));
      } else {
        blocks.deallocate(random() % blocks.live());
      }
      if (random() % 500 == 0)
        cache.trim();
      ASSERT_EQ(cache.live_blocks(), blocks.live());
      if (step % 200 == 0) {
        ASSERT_EQ(cache.check_invariants(), nullptr);
      }
    }
    blocks.deallocate_all();
    cache.trim();
    EXPECT_EQ(source.usage().acquired_bytes, 0u);
  }
}

TEST(slab_cache, after_random_frees_all_empty_slabs_go_back) {
  mete::heap_source source;
  mete::slab_cache cache({.upstream = &source, .block_bytes = 1024, .max_empty_bytes = 4 * 32768});
  std::vector<void*> blocks(20'000);
  for (void*& each : blocks)
    each = cache.allocate(1024);
  const std::size_t full = cache.usage().reserved_bytes;
  EXPECT_LE(full, 20'000u * 1024 / 100 * 107) << "what headers and ends of slabs cost";
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(5));
  std::set<std::uintptr_t> needed;
  for (std::size_t at = 0; at < blocks.size(); ++at) {
    if (at % 10 == 0)
      needed.insert(reinterpret_cast<std::uintptr_t>(blocks[at]) & ~(cache.slab_bytes() - 1));
    else
      cache.deallocate(blocks[at]);
  }
  EXPECT_LE(cache.usage().reserved_bytes, (needed.size() + 6) * cache.slab_bytes())
      << "empty ones go back by themselves, but for some";
  cache.trim();
  EXPECT_EQ(cache.usage().reserved_bytes,
            needed.size() * (cache.slab_bytes() - mete::detail::slab_geometry::gap_bytes));
  EXPECT_LT(cache.usage().reserved_bytes, full);
  EXPECT_EQ(cache.check_invariants(), nullptr);
  EXPECT_EQ(cache.usage().peak_bytes, 20'000u * 1024);
}

TEST(slab_cache, no_slabs_are_acquired_while_others_have_room) {
  mete::heap_source source;
  mete::slab_cache cache({.upstream = &source, .block_bytes = 64});
  std::vector<void*> blocks(10'000);
  for (void*& each : blocks)
    each = cache.allocate(64);
  const std::size_t full = cache.usage().reserved_bytes;
  std::mt19937 random(9);
  for (int round = 0; round < 100'000; ++round) {
    void*& each = blocks[random() % blocks.size()];
    cache.deallocate(each);
    each = cache.allocate(64);
  }
  EXPECT_EQ(cache.usage().reserved_bytes, full);
  EXPECT_EQ(cache.usage().peak_bytes, 10'000u * 64);
}

TEST(slab_cache, some_empty_slabs_are_kept) {
  mete::heap_source source;
  mete::slab_cache cache({.upstream = &source, .block_bytes = 128, .max_empty_bytes = 16 * 16384});
  std::vector<void*> blocks(1000);
  std::size_t acquisitions = 0;
  for (int round = 0; round < 10; ++round) {
    for (void*& each : blocks)
      each = cache.allocate(128);
    if (round == 0)
      acquisitions = source.usage().acquisitions;
    for (void* const each : blocks)
      cache.deallocate(each);
  }
  EXPECT_EQ(source.usage().acquisitions, acquisitions);
}

TEST(slab_cache, what_is_kept_empty_is_counted_in_bytes) {
  for (const std::size_t bytes : {std::size_t{128}, std::size_t{4096}, std::size_t{65536}}) {
    constexpr std::size_t max_empty_bytes = 1024 * 1024;
    mete::slab_cache cache({.block_bytes = bytes, .max_empty_bytes = max_empty_bytes});
    std::vector<void*> blocks(8 * max_empty_bytes / bytes);
    for (void*& each : blocks)
      each = cache.allocate(bytes);
    for (void* const each : blocks)
      cache.deallocate(each);
    EXPECT_LE(cache.usage().reserved_bytes, max_empty_bytes + 2 * cache.slab_bytes());
    EXPECT_GE(cache.usage().reserved_bytes + 2 * cache.slab_bytes(), max_empty_bytes);
  }
}

TEST(slab_cache, large_blocks_do_not_bring_many_along) {
  for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{5} << 18}) {
    const mete::slab_cache cache({.block_bytes = bytes});
    EXPECT_LE(cache.slab_bytes(), 16 * bytes);
    const auto at = mete::detail::slab_geometry::of(bytes, 16);
    EXPECT_GE(at.capacity, 7u);
    EXPECT_LE((at.slab_bytes - at.capacity * at.block_bytes) * 8, at.slab_bytes);
  }
}

TEST(slab_cache, colours_move_the_blocks_of_later_slabs) {
  mete::slab_cache cache({.block_bytes = 1000, .alignment = 8});
  std::set<std::size_t> offsets;
  for (int count = 0; count < 100; ++count) {
    const auto block = reinterpret_cast<std::uintptr_t>(cache.allocate(1000, 8));
    offsets.insert(block % cache.slab_bytes() % 1000);
  }
  EXPECT_GE(offsets.size(), 3u);
}

TEST(slab_cache, nothing_is_acquired_before_the_first_allocation) {
  mete::heap_source source;
  mete::slab_cache cache({.upstream = &source});
  cache.trim();
  EXPECT_EQ(source.usage().acquisitions, 0u);
  EXPECT_FALSE(cache.owns(&source));
  EXPECT_EQ(cache.check_invariants(), nullptr);
}

TEST(slab_cache, nothing_is_written_into_free_blocks) {
  mete::slab_cache cache({.block_bytes = 64});
  auto* const block = static_cast<char*>(cache.allocate(64));
  std::memset(block, 0x5a, 64);
  cache.deallocate(block);
  auto* const again = static_cast<char*>(cache.allocate(64));
  ASSERT_EQ(again, block);
  EXPECT_EQ(std::count(again, again + 64, 0x5a), 64);
}

struct counts {
  static inline int constructed = 0;
  static inline int destroyed = 0;
};

TEST(slab_cache, the_constructed_state_is_kept) {
  const auto construct = [](void* block) noexcept {
    std::memset(block, 0x33, 40);
    ++counts::constructed;
  };
  const auto destroy = [](void* block) noexcept {
    EXPECT_EQ(static_cast<char*>(block)[39], 0x33);
    ++counts::destroyed;
  };
  {
    mete::slab_cache cache(
        {.block_bytes = 40, .alignment = 8, .construct = construct, .destroy = destroy});
    std::vector<char*> blocks;
    for (int count = 0; count < 3000; ++count) {
      blocks.push_back(static_cast<char*>(cache.allocate(40, 8)));
      ASSERT_EQ(blocks.back()[20], 0x33);
    }
    const int made = counts::constructed;
    EXPECT_GE(made, 3000);
    for (char* const each : blocks)
      cache.deallocate(each);
    EXPECT_EQ(cache.allocate(40, 8) == nullptr, false);
    EXPECT_EQ(counts::constructed, made) << "nothing is constructed a second time";
    cache.trim();
    EXPECT_GT(counts::destroyed, 0);
  }
  EXPECT_EQ(counts::constructed, counts::destroyed);
}

TEST(slab_cache, alignments) {
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    mete::slab_cache cache({.block_bytes = 24, .alignment = alignment});
    mete::test::expect_alignments(cache, 24, alignment);
    for (int count = 0; count < 100; ++count)
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.allocate(24, alignment)) % alignment, 0u);
    EXPECT_EQ(cache.try_allocate(24, 2 * alignment), nullptr);
  }
}

TEST(slab_cache, impossible_requests) {
  mete::slab_cache cache({.name = "sessions", .block_bytes = 64});
  mete::test::expect_impossible_requests_fail(cache);
  mete::test::expect_exhaustion_is_told(cache, 65);
  EXPECT_NE(cache.try_allocate(0), nullptr);
}

TEST(slab_cache, options_that_cannot_be_give_nothing) {
  for (const std::size_t bytes :
       {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2 + 1, std::size_t{1} << 26}) {
    mete::slab_cache cache({.block_bytes = bytes});
    EXPECT_EQ(cache.try_allocate(1), nullptr);
    EXPECT_FALSE(cache.owns(&cache));
    cache.trim();
  }
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{24}, SIZE_MAX}) {
    mete::slab_cache cache({.block_bytes = 64, .alignment = alignment});
    EXPECT_EQ(cache.try_allocate(1, 1), nullptr);
  }
}

TEST(slab_cache, sizes_of_slabs_are_rounded_to_what_can_be) {
  for (const std::size_t slab_bytes : {std::size_t{1}, std::size_t{5000}, std::size_t{1} << 24}) {
    mete::slab_cache cache({.block_bytes = 100, .slab_bytes = slab_bytes});
    EXPECT_TRUE(std::has_single_bit(cache.slab_bytes()));
    mete::test::exercise(cache, {.operations = 3000, .max_size = 100, .max_alignment = 16});
    EXPECT_EQ(cache.check_invariants(), nullptr);
  }
}

TEST(slab_cache, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::slab_cache cache({.upstream = &source, .block_bytes = 1000, .slab_bytes = 4096});
    mete::test::model blocks(cache);
    for (int round = 0; round < 3; ++round) {
      for (int count = 0; count < 150; ++count)
        static_cast<void>(blocks.allocate(1000, 8));
      while (blocks.live() > 20)
        blocks.deallocate(blocks.live() / 2);
      cache.trim();
      EXPECT_EQ(cache.check_invariants(), nullptr);
    }
    blocks.deallocate_all();
  });
}

TEST(slab_cache, owns_its_blocks_only) {
  mete::slab_cache cache({.block_bytes = 64});
  int elsewhere = 0;
  for (int count = 0; count < 5000; ++count) {
    auto* const block = static_cast<std::byte*>(cache.allocate(64));
    ASSERT_TRUE(cache.owns(block));
    ASSERT_FALSE(cache.owns(block + 1));
  }
  EXPECT_FALSE(cache.owns(&elsewhere));
  EXPECT_FALSE(cache.owns(nullptr));
}

TEST(slab_cache_death_test, misuse) {
  mete::slab_cache cache({.name = "sessions", .block_bytes = 64});
  mete::slab_cache other({.block_bytes = 64});
  int elsewhere = 0;
  auto* const one = static_cast<std::byte*>(cache.allocate(64));
  void* const two = cache.allocate(64);
  EXPECT_DEATH(cache.deallocate(&elsewhere), "sessions: foreign free");
  EXPECT_DEATH(cache.deallocate(nullptr), "sessions: foreign free");
  EXPECT_DEATH(cache.deallocate(other.allocate(64)), "sessions: foreign free");
  EXPECT_DEATH(cache.deallocate(one + 8), "sessions: invalid free");
  EXPECT_DEATH(cache.deallocate(one - 64), "sessions: invalid free") << "in the header";
  cache.deallocate(one);
  cache.deallocate(two);
  EXPECT_DEATH(cache.deallocate(one), "sessions: double free") << "not only the last one";
  EXPECT_DEATH(cache.deallocate(two), "sessions: double free");
}

} // namespace
