// SPDX-License-Identifier: MIT
#include <mete/pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

using small_fixed_pool = mete::fixed_pool<48, 16, 100>;

static_assert(mete::allocator<mete::pool>);
static_assert(mete::allocator<small_fixed_pool>);

TEST(pool, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    mete::pool pool({.block_bytes = 200, .alignment = 64, .first_chunk_bytes = 1000});
    mete::test::exercise(pool,
                         {.seed = seed, .live_limit = 3000, .max_size = 200, .max_alignment = 64});
    EXPECT_EQ(pool.check_invariants(), nullptr);
    EXPECT_EQ(pool.live_blocks(), 0u);
    pool.trim();
    EXPECT_EQ(pool.usage().reserved_bytes, 0u);
  }
}

TEST(pool, random_use_with_trims_agrees_with_the_model) {
  std::mt19937_64 random(11);
  mete::pool pool({.block_bytes = 64, .first_chunk_bytes = 500, .max_chunk_bytes = 2000});
  mete::test::model blocks(pool);
  for (int step = 0; step < 20'000; ++step) {
    const bool growing = step / 1000 % 2 == 0;
    if (blocks.live() == 0 || random() % 100 < (growing ? 80u : 30u)) {
      ASSERT_TRUE(blocks.allocate(random() % 65, 16));
    } else {
      blocks.deallocate(random() % blocks.live());
    }
    if (random() % 200 == 0)
      pool.trim();
    ASSERT_EQ(pool.live_blocks(), blocks.live());
    if (step % 500 == 0) {
      ASSERT_EQ(pool.check_invariants(), nullptr);
      blocks.check_all();
    }
  }
  blocks.deallocate_all();
}

TEST(pool, trim_gives_back_the_chunks_in_which_nothing_lives) {
  mete::heap_source source;
  mete::pool pool({.upstream = &source,
                   .block_bytes = 100,
                   .alignment = 4,
                   .first_chunk_bytes = 1000,
                   .max_chunk_bytes = 1000});
  std::vector<void*> blocks(1000);
  for (void*& each : blocks)
    each = pool.allocate(100, 4);
  const std::size_t full = pool.usage().reserved_bytes;
  EXPECT_GE(full, 100'000u);
  pool.trim();
  EXPECT_EQ(pool.usage().reserved_bytes, full) << "all live";
  // One in 50 lives: one chunk in five.
  std::vector<void*> living;
  std::vector<void*> freed;
  for (std::size_t at = 0; at < blocks.size(); ++at)
    (at % 50 == 0 ? living : freed).push_back(blocks[at]);
  std::shuffle(freed.begin(), freed.end(), std::mt19937(3));
  for (void* const each : freed)
    pool.deallocate(each, 100, 4);
  EXPECT_EQ(pool.usage().reserved_bytes, full);
  pool.trim();
  EXPECT_EQ(pool.check_invariants(), nullptr);
  EXPECT_LE(pool.usage().reserved_bytes, living.size() * 1000);
  EXPECT_EQ(pool.live_blocks(), living.size());
  EXPECT_GE(pool.usage().peak_bytes, 100'000u);
  for (void* const each : living) {
    EXPECT_TRUE(pool.owns(each));
    pool.deallocate(each);
  }
  pool.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
  EXPECT_NE(pool.try_allocate(1, 4), nullptr) << "it must be of use afterwards";
}

TEST(pool, nothing_is_acquired_or_touched_before_it_is_needed) {
  std::vector<std::byte> memory(1 << 16, std::byte{0x77});
  mete::buffer_source buffer(memory);
  mete::pool pool({.upstream = &buffer, .block_bytes = 256, .first_chunk_bytes = 40'000});
  EXPECT_EQ(buffer.usage().acquisitions, 0u);
  pool.trim();
  EXPECT_EQ(buffer.usage().acquisitions, 0u);
  auto* const first = static_cast<std::byte*>(pool.try_allocate(256));
  auto* const second = static_cast<std::byte*>(pool.try_allocate(256));
  EXPECT_EQ(second, first + 256) << "in the order of addresses";
  EXPECT_EQ(second[0], std::byte{0x77});
  EXPECT_EQ(second[255], std::byte{0x77});
}

TEST(pool, the_last_freed_is_given_first) {
  mete::pool pool({.block_bytes = 64});
  void* const one = pool.allocate(64);
  void* const two = pool.allocate(64);
  pool.deallocate(one);
  pool.deallocate(two);
  EXPECT_EQ(pool.allocate(64), two);
  EXPECT_EQ(pool.allocate(64), one);
}

TEST(pool, chunks_stop_doubling) {
  mete::heap_source source;
  mete::pool pool({.upstream = &source, .block_bytes = 128, .max_chunk_bytes = 65536});
  for (int count = 0; count < 20'000; ++count)
    ASSERT_NE(pool.try_allocate(128), nullptr);
  EXPECT_LE(pool.usage().reserved_bytes - pool.usage().used_bytes, 65536u);
  EXPECT_LE(source.usage().acquisitions, 20'000 * 128 / 65536 + 16u);
}

TEST(pool, alignments) {
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    mete::pool pool({.block_bytes = 24, .alignment = alignment});
    mete::test::expect_alignments(pool, 24, alignment);
    void* const first = pool.try_allocate(24, alignment);
    void* const second = pool.try_allocate(24, alignment);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % alignment, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % alignment, 0u);
    EXPECT_EQ(pool.try_allocate(24, std::max(2 * alignment, 2 * sizeof(void*))), nullptr);
  }
}

TEST(pool, impossible_requests) {
  mete::pool pool({.name = "packets", .block_bytes = 64});
  mete::test::expect_impossible_requests_fail(pool);
  mete::test::expect_exhaustion_is_told(pool, 65);
  EXPECT_NE(pool.try_allocate(0), nullptr);
}

TEST(pool, options_that_cannot_be_give_nothing) {
  for (const std::size_t block_bytes : {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2 + 1}) {
    mete::pool pool({.block_bytes = block_bytes});
    EXPECT_EQ(pool.try_allocate(1), nullptr);
    pool.trim();
  }
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{24}, SIZE_MAX}) {
    mete::pool pool({.block_bytes = 64, .alignment = alignment});
    EXPECT_EQ(pool.try_allocate(1, 1), nullptr);
    EXPECT_FALSE(pool.owns(&pool));
  }
}

TEST(pool, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::pool pool({.upstream = &source,
                     .block_bytes = 100,
                     .first_chunk_bytes = 256,
                     .max_chunk_bytes = 512});
    mete::test::model blocks(pool);
    for (int round = 0; round < 3; ++round) {
      for (int count = 0; count < 60; ++count)
        static_cast<void>(blocks.allocate(100, 16));
      while (blocks.live() > 20)
        blocks.deallocate(blocks.live() / 2);
      pool.trim();
      EXPECT_EQ(pool.check_invariants(), nullptr);
    }
    blocks.deallocate_all();
  });
}

TEST(pool, less_than_a_chunk_is_taken_if_there_is_no_more) {
  std::vector<std::byte> memory(4096);
  mete::buffer_source buffer(memory);
  mete::pool pool({.upstream = &buffer, .block_bytes = 256, .first_chunk_bytes = 65536});
  int count = 0;
  while (pool.try_allocate(256) != nullptr)
    ++count;
  EXPECT_GE(count, 13);
}

TEST(pool, owns_its_blocks_only) {
  mete::pool pool({.block_bytes = 64, .first_chunk_bytes = 256, .max_chunk_bytes = 256});
  int elsewhere = 0;
  EXPECT_FALSE(pool.owns(&elsewhere));
  EXPECT_FALSE(pool.owns(nullptr));
  for (int count = 0; count < 50; ++count) {
    auto* const block = static_cast<std::byte*>(pool.try_allocate(64));
    EXPECT_TRUE(pool.owns(block));
    EXPECT_FALSE(pool.owns(block + 1));
  }
  EXPECT_FALSE(pool.owns(&elsewhere));
  mete::pool other({.block_bytes = 96, .first_chunk_bytes = 200, .max_chunk_bytes = 200});
  auto* const first = static_cast<std::byte*>(other.try_allocate(96));
  EXPECT_TRUE(other.owns(first + 96)) << "free";
  EXPECT_FALSE(other.owns(first + std::ptrdiff_t{2} * 96)) << "the rest of the chunk";
}

TEST(pool_death_test, a_foreign_block) {
  mete::pool pool({.name = "packets"});
  int elsewhere = 0;
  EXPECT_DEATH(pool.deallocate(&elsewhere), "packets: foreign free");
  static_cast<void>(pool.try_allocate(8));
  EXPECT_DEATH(pool.deallocate(&elsewhere), "packets: foreign free");
}

TEST(pool_death_test, a_block_freed_twice_running) {
  mete::pool pool({.name = "packets"});
  void* const block = pool.allocate(8);
  pool.deallocate(block);
  EXPECT_DEATH(pool.deallocate(block), "packets: double free");
}

TEST(pool, invariants_notice_a_broken_list) {
  mete::pool pool;
  void* const one = pool.allocate(64);
  void* const two = pool.allocate(64);
  pool.deallocate(one);
  pool.deallocate(two);
  pool.deallocate(one); // twice, but not running
  EXPECT_NE(pool.check_invariants(), nullptr);
}

// fixed_pool

constexpr bool works_in_a_constant_expression() {
  mete::fixed_pool<8, 8, 3> pool("constant");
  void* const one = pool.try_allocate(8, 8);
  void* const two = pool.allocate(5, 4);
  void* const three = pool.try_allocate(8, 8);
  if (one == two || two == three || three == nullptr || pool.try_allocate(8, 8) != nullptr)
    return false;
  pool.deallocate(two);
  pool.deallocate(one);
  const bool right = pool.live_blocks() == 1 && pool.owns(one) && !pool.owns(nullptr) &&
                     pool.usage().peak_bytes == 24 && pool.check_invariants() == nullptr;
  return right && pool.try_allocate(1, 1) == one && pool.try_allocate(9, 1) == nullptr;
}
static_assert(works_in_a_constant_expression());

constinit mete::fixed_pool<64, 64, 10'000> static_pool("static");

TEST(fixed_pool, is_ready_before_anything_runs) {
  void* const block = static_pool.allocate(64, 64);
  EXPECT_TRUE(static_pool.owns(block));
  static_pool.deallocate(block);
  EXPECT_EQ(static_pool.usage().peak_bytes, 64u);
}

TEST(fixed_pool, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto pool = std::make_unique<mete::fixed_pool<40, 32, 300>>();
    mete::test::exercise(*pool,
                         {.seed = seed, .live_limit = 400, .max_size = 40, .max_alignment = 32});
    EXPECT_EQ(pool->check_invariants(), nullptr);
    EXPECT_EQ(pool->live_blocks(), 0u);
  }
}

TEST(fixed_pool, gives_each_of_its_blocks) {
  small_fixed_pool pool;
  mete::test::model blocks(pool);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t count = 0; count < pool.capacity(); ++count)
      ASSERT_TRUE(blocks.allocate(48, 16));
    EXPECT_FALSE(blocks.allocate(1, 1));
    EXPECT_EQ(pool.usage().used_bytes, pool.usage().reserved_bytes);
    mete::test::expect_exhaustion_is_told(pool, 48);
    blocks.deallocate_all();
  }
}

TEST(fixed_pool, numbers_of_blocks_fit_at_the_borders) {
  const auto fill = [](auto& pool) {
    std::set<void*> blocks;
    while (void* const block = pool.try_allocate(4, 4))
      blocks.insert(block);
    EXPECT_EQ(blocks.size(), pool.capacity());
    for (void* const each : blocks)
      pool.deallocate(each);
    EXPECT_EQ(pool.check_invariants(), nullptr);
    EXPECT_EQ(pool.try_allocate(4, 4), *blocks.rbegin());
  };
  fill(*std::make_unique<mete::fixed_pool<4, 4, 1>>());
  fill(*std::make_unique<mete::fixed_pool<4, 4, 253>>());
  fill(*std::make_unique<mete::fixed_pool<4, 4, 254>>());
  fill(*std::make_unique<mete::fixed_pool<4, 4, 255>>());
  fill(*std::make_unique<mete::fixed_pool<4, 4, 65533>>());
  fill(*std::make_unique<mete::fixed_pool<4, 4, 65535>>());
}

TEST(fixed_pool, alignments_and_impossible_requests) {
  const auto pool = std::make_unique<mete::fixed_pool<100, 4096, 4>>();
  mete::test::expect_alignments(*pool, 100);
  mete::test::expect_impossible_requests_fail(*pool);
}

TEST(fixed_pool_death_test, misuse) {
  small_fixed_pool pool("fixed");
  int elsewhere = 0;
  auto* const one = static_cast<std::byte*>(pool.allocate(48));
  void* const two = pool.allocate(48);
  EXPECT_DEATH(pool.deallocate(&elsewhere), "fixed: invalid free");
  EXPECT_DEATH(pool.deallocate(one + 1), "fixed: invalid free");
  EXPECT_DEATH(pool.deallocate(one + std::size_t{48} * 2), "fixed: double free") << "never given";
  pool.deallocate(one);
  pool.deallocate(two);
  EXPECT_DEATH(pool.deallocate(one), "fixed: double free");
}

} // namespace
