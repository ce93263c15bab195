// SPDX-License-Identifier: MIT
#include <mete/shared_pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::shared_pool>);

TEST(shared_pool, random_use_agrees_with_the_model) {
  for (const std::size_t magazine_blocks : {0u, 1u, 3u, 16u}) {
    mete::shared_pool pool({.block_bytes = 200,
                            .alignment = 64,
                            .magazine_blocks = magazine_blocks,
                            .first_chunk_bytes = 1000});
    mete::test::exercise(
        pool, {.seed = magazine_blocks, .live_limit = 3000, .max_size = 200, .max_alignment = 64});
    EXPECT_EQ(pool.check_invariants(), nullptr);
    EXPECT_EQ(pool.live_blocks(), 0u);
    pool.trim();
    EXPECT_EQ(pool.usage().reserved_bytes, 0u);
  }
}

TEST(shared_pool, random_use_with_trims_agrees_with_the_model) {
  std::mt19937_64 random(11);
  mete::shared_pool pool(
      {.block_bytes = 64, .magazine_blocks = 8, .first_chunk_bytes = 500, .max_chunk_bytes = 2000});
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
    if (random() % 100 == 0)
      pool.flush_this_thread();
    ASSERT_EQ(pool.live_blocks(), blocks.live());
    if (step % 500 == 0) {
      ASSERT_EQ(pool.check_invariants(), nullptr);
      blocks.check_all();
    }
  }
  blocks.deallocate_all();
}

TEST(shared_pool, many_at_a_time) {
  mete::shared_pool pool({.block_bytes = 48, .magazine_blocks = 16});
  for (const std::size_t count : {0u, 1u, 15u, 16u, 17u, 1000u}) {
    std::vector<void*> blocks(count);
    ASSERT_EQ(pool.try_allocate_many(blocks, 48), count);
    mete::test::model model(pool);
    for (void* const each : blocks)
      model.add(each, 48, 16);
    EXPECT_EQ(pool.live_blocks(), count);
    model.check_all();
    pool.deallocate_many(blocks);
    EXPECT_EQ(pool.live_blocks(), 0u);
    EXPECT_EQ(pool.check_invariants(), nullptr);
  }
  std::vector<void*> blocks(10);
  EXPECT_EQ(pool.try_allocate_many(blocks, 49), 0u);
  EXPECT_EQ(pool.try_allocate_many(blocks, 1, 3), 0u);

  std::vector<std::byte> memory(4096);
  mete::buffer_source buffer(memory);
  mete::shared_pool small({.upstream = &buffer, .block_bytes = 256, .magazine_blocks = 4});
  std::vector<void*> wanted(100);
  const std::size_t given = small.try_allocate_many(wanted, 256);
  EXPECT_GT(given, 5u);
  EXPECT_LT(given, 16u);
  EXPECT_EQ(
      std::set<void*>(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(given)).size(),
      given);
  small.deallocate_many({wanted.data(), given});
}

TEST(shared_pool, trim_gives_back_the_chunks_in_which_nothing_lives) {
  mete::heap_source source;
  mete::shared_pool pool({.upstream = &source,
                          .block_bytes = 100,
                          .alignment = 4,
                          .first_chunk_bytes = 1000,
                          .max_chunk_bytes = 1000});
  std::vector<void*> blocks(1000);
  ASSERT_EQ(pool.try_allocate_many(blocks, 100, 4), blocks.size());
  std::vector<void*> living;
  std::vector<void*> freed;
  for (std::size_t at = 0; at < blocks.size(); ++at)
    (at % 50 == 0 ? living : freed).push_back(blocks[at]);
  std::shuffle(freed.begin(), freed.end(), std::mt19937(3));
  pool.deallocate_many(freed);
  pool.trim();
  EXPECT_EQ(pool.check_invariants(), nullptr);
  EXPECT_LE(pool.usage().reserved_bytes, living.size() * 1000);
  EXPECT_EQ(pool.live_blocks(), living.size());
  EXPECT_GE(pool.usage().peak_bytes, 100'000u);
  for (void* const each : living)
    EXPECT_TRUE(pool.owns(each));
  pool.deallocate_many(living);
  pool.trim();
  EXPECT_EQ(pool.usage().reserved_bytes, 0u);
  EXPECT_LT(source.usage().acquired_bytes, 4096u) << "this thread's magazines";
  EXPECT_NE(pool.try_allocate(1, 4), nullptr) << "it must be of use afterwards";
}

TEST(shared_pool, alignments) {
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    mete::shared_pool pool({.block_bytes = 24, .alignment = alignment});
    mete::test::expect_alignments(pool, 24, alignment);
    void* const first = pool.try_allocate(24, alignment);
    void* const second = pool.try_allocate(24, alignment);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % alignment, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % alignment, 0u);
    EXPECT_EQ(pool.try_allocate(24, std::max(2 * alignment, 2 * sizeof(void*))), nullptr);
  }
}

TEST(shared_pool, impossible_requests) {
  mete::shared_pool pool({.name = "packets", .block_bytes = 64});
  mete::test::expect_impossible_requests_fail(pool);
  mete::test::expect_exhaustion_is_told(pool, 65);
  EXPECT_NE(pool.try_allocate(0), nullptr);
  for (const std::size_t block_bytes : {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2 + 1}) {
    mete::shared_pool huge({.block_bytes = block_bytes});
    EXPECT_EQ(huge.try_allocate(1), nullptr);
    huge.trim();
  }
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{24}, SIZE_MAX}) {
    mete::shared_pool odd({.block_bytes = 64, .alignment = alignment});
    EXPECT_EQ(odd.try_allocate(1, 1), nullptr);
    EXPECT_FALSE(odd.owns(&odd));
  }
}

TEST(shared_pool, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::shared_pool pool({.upstream = &source,
                            .block_bytes = 100,
                            .magazine_blocks = 4,
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
      EXPECT_EQ(pool.live_blocks(), blocks.live());
    }
    blocks.deallocate_all();
  });
}

// Blocks that were freed come back although there is no memory for magazines.
TEST(shared_pool, works_without_magazines) {
  struct : mete::source {
    std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
      return bytes == magazine_bytes ? std::span<std::byte>{} : heap.acquire(bytes, alignment);
    }
    void do_release(std::span<std::byte> block, std::size_t alignment) noexcept override {
      heap.release(block, alignment);
    }
    mete::heap_source heap;
    std::size_t magazine_bytes = (2 + 77) * sizeof(void*);
  } source;
  mete::shared_pool pool({.upstream = &source, .magazine_blocks = 77});
  mete::test::exercise(pool, {.max_size = 64, .max_alignment = 16});
  EXPECT_GT(source.usage().failures, 0u);
  EXPECT_EQ(pool.check_invariants(), nullptr);
  EXPECT_EQ(pool.live_blocks(), 0u);
}

TEST(shared_pool, owns_its_blocks_only) {
  mete::shared_pool pool({.block_bytes = 64});
  int elsewhere = 0;
  EXPECT_FALSE(pool.owns(&elsewhere));
  EXPECT_FALSE(pool.owns(nullptr));
  auto* const block = static_cast<std::byte*>(pool.allocate(64));
  EXPECT_TRUE(pool.owns(block));
  EXPECT_FALSE(pool.owns(block + 1));
}

TEST(shared_pool_death_test, misuse) {
  mete::shared_pool pool({.name = "packets"});
  int elsewhere = 0;
  EXPECT_DEATH(pool.deallocate(&elsewhere), "packets: foreign free");
  void* const block = pool.allocate(8);
  EXPECT_DEATH(pool.deallocate(&elsewhere), "packets: foreign free");
  pool.deallocate(block);
  EXPECT_DEATH(pool.deallocate(block), "packets: double free");
}

// Threads

TEST(shared_pool_threads, blocks_of_all_are_freed_by_all) {
  mete::shared_pool pool({.block_bytes = 64, .magazine_blocks = 8, .first_chunk_bytes = 1000});
  struct shelf {
    std::mutex mutex;
    std::vector<std::uint64_t*> blocks;
  };
  std::vector<shelf> shelves(4);
  std::vector<std::thread> threads;
  for (unsigned which = 0; which != 4; ++which) {
    threads.emplace_back([&, which] {
      std::mt19937 random(which);
      for (int step = 0; step != 20'000; ++step) {
        shelf& at = shelves[random() % 4];
        if (random() % 2 == 0) {
          auto* const block = static_cast<std::uint64_t*>(pool.allocate(64));
          std::fill_n(block, 8, reinterpret_cast<std::uintptr_t>(block));
          const std::lock_guard locked(at.mutex);
          at.blocks.push_back(block);
        } else {
          std::uint64_t* block = nullptr;
          if (const std::lock_guard locked(at.mutex); !at.blocks.empty()) {
            block = at.blocks.back();
            at.blocks.pop_back();
          }
          if (block == nullptr)
            continue;
          for (int word = 0; word != 8; ++word)
            ASSERT_EQ(block[word], reinterpret_cast<std::uintptr_t>(block)) << "two have it";
          pool.deallocate(block);
        }
        if (step % 1000 == 0)
          pool.trim();
        if (step % 777 == 0)
          pool.flush_this_thread();
        if (step % 500 == 0) {
          const mete::allocator_usage now = pool.usage();
          EXPECT_LE(now.used_bytes, now.peak_bytes);
        }
      }
    });
  }
  for (std::thread& each : threads)
    each.join();
  EXPECT_EQ(pool.check_invariants(), nullptr);
  std::size_t live = 0;
  for (shelf& each : shelves) {
    live += each.blocks.size();
    for (void* const block : each.blocks)
      pool.deallocate(block);
    live -= each.blocks.size();
  }
  EXPECT_EQ(live, 0u);
  EXPECT_EQ(pool.live_blocks(), 0u);
  pool.trim();
  EXPECT_EQ(pool.usage().reserved_bytes, 0u);
}

TEST(shared_pool_threads, what_a_thread_kept_is_there_for_others_when_it_has_ended) {
  mete::shared_pool pool({.block_bytes = 64, .magazine_blocks = 32});
  std::set<void*> blocks;
  std::thread([&] {
    std::vector<void*> mine(64);
    ASSERT_EQ(pool.try_allocate_many(mine, 64), mine.size());
    blocks.insert(mine.begin(), mine.end());
    pool.deallocate_many(mine);
  }).join();
  EXPECT_EQ(pool.check_invariants(), nullptr);
  const std::size_t reserved = pool.usage().reserved_bytes;
  std::vector<void*> again(64);
  ASSERT_EQ(pool.try_allocate_many(again, 64), again.size());
  EXPECT_EQ(std::set<void*>(again.begin(), again.end()), blocks);
  EXPECT_EQ(pool.usage().reserved_bytes, reserved);
  pool.deallocate_many(again);
}

TEST(shared_pool_threads, a_thousand_threads_leave_nothing_behind) {
  mete::heap_source source;
  mete::shared_pool pool({.upstream = &source});
  std::size_t after_the_first = 0;
  for (int count = 0; count != 1000; ++count) {
    std::thread([&] { pool.deallocate(pool.allocate(64)); }).join();
    if (count == 0)
      after_the_first = source.usage().acquired_bytes;
  }
  EXPECT_EQ(source.usage().acquired_bytes, after_the_first);
  pool.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(shared_pool_threads, pools_come_and_go_by_the_thousand) {
  mete::heap_source source;
  const auto kept = std::make_unique<mete::shared_pool>(mete::shared_pool_options{});
  void* const block = kept->allocate(64);
  for (int count = 0; count != 5000; ++count) {
    mete::shared_pool pool({.upstream = &source, .magazine_blocks = 2});
    pool.deallocate(pool.allocate(64));
    EXPECT_EQ(pool.live_blocks(), 0u);
  }
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
  EXPECT_LT(mete::detail::this_thread_entries.room, 64u) << "numbers are given again";
  kept->deallocate(block);
}

TEST(shared_pool_threads, many_pools_at_a_time) {
  std::vector<std::unique_ptr<mete::shared_pool>> pools;
  for (int count = 0; count != 100; ++count)
    pools.push_back(
        std::make_unique<mete::shared_pool>(mete::shared_pool_options{.magazine_blocks = 4}));
  for (int round = 0; round != 20; ++round) {
    std::vector<void*> blocks;
    for (const auto& each : pools)
      blocks.push_back(each->allocate(64));
    for (std::size_t at = 0; at != pools.size(); ++at) {
      EXPECT_TRUE(pools[at]->owns(blocks[at]));
      EXPECT_EQ(pools[at]->live_blocks(), 1u);
      pools[at]->deallocate(blocks[at]);
    }
    for (std::size_t at = static_cast<std::size_t>(round); at < pools.size(); at += 10)
      pools[at] = std::make_unique<mete::shared_pool>(mete::shared_pool_options{});
  }
}

TEST(shared_pool_threads, the_pool_dies_before_the_thread) {
  std::atomic<int> stage{0};
  std::optional<mete::shared_pool> pool(std::in_place);
  std::thread other([&] {
    pool->deallocate(pool->allocate(64));
    stage = 1;
    while (stage != 2)
      std::this_thread::yield();
    pool->deallocate(pool->allocate(64)); // another one, with the same number
    EXPECT_EQ(pool->live_blocks(), 0u);
  });
  while (stage != 1)
    std::this_thread::yield();
  pool.emplace();
  stage = 2;
  other.join();
  EXPECT_EQ(pool->check_invariants(), nullptr);
}

TEST(shared_pool_threads, threads_and_pools_end_at_the_same_time) {
  for (int round = 0; round != 200; ++round) {
    std::optional<mete::shared_pool> first(std::in_place);
    std::optional<mete::shared_pool> second(std::in_place);
    std::atomic<int> used{0};
    std::vector<std::thread> threads;
    for (int count = 0; count != 3; ++count) {
      threads.emplace_back([&] {
        first->deallocate(first->allocate(64));
        second->deallocate(second->allocate(64));
        ++used;
      });
    }
    while (used != 3)
      std::this_thread::yield();
    first.reset();
    second.reset();
    for (std::thread& each : threads)
      each.join();
  }
}

// Such variables are destroyed after the thread's caches if they were made before them.
mete::shared_pool* used_at_the_end = nullptr;
struct uses_the_pool_at_its_end {
  void* block = nullptr;
  ~uses_the_pool_at_its_end() {
    if (block != nullptr) {
      used_at_the_end->deallocate(block);
      used_at_the_end->deallocate(used_at_the_end->allocate(64));
    }
  }
};
thread_local uses_the_pool_at_its_end last_user;

TEST(shared_pool_threads, a_thread_that_has_lost_its_magazines_can_still_allocate_and_free) {
  mete::shared_pool pool;
  used_at_the_end = &pool;
  std::thread([&] {
    last_user.block = nullptr; // made
    last_user.block = pool.allocate(64);
  }).join();
  EXPECT_EQ(pool.live_blocks(), 0u);
  EXPECT_EQ(pool.check_invariants(), nullptr);
  pool.trim();
  EXPECT_EQ(pool.usage().reserved_bytes, 0u);
}

TEST(shared_pool_threads, a_static_pool_outlives_the_main_threads_caches) {
  static mete::shared_pool pool({.name = "static"});
  pool.deallocate(pool.allocate(64));
}

} // namespace
