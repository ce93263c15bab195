// SPDX-License-Identifier: MIT
#include <mete/source.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "support/failing_source.hpp"
#include "support/sources.hpp"

namespace {

TEST(heap_source, random_use) {
  mete::heap_source heap;
  mete::test::exercise_source(heap);
}

TEST(heap_source, impossible_requests) {
  mete::heap_source heap;
  mete::test::expect_impossible_acquisitions_fail(heap);
}

TEST(heap_source, counts_what_is_out) {
  mete::heap_source heap;
  const auto first = heap.acquire(1000);
  const auto second = heap.acquire(500, 4096);
  EXPECT_EQ(heap.usage().acquired_bytes, first.size() + second.size());
  heap.release(first);
  EXPECT_EQ(heap.usage().acquired_bytes, second.size());
  EXPECT_EQ(heap.usage().peak_bytes, first.size() + second.size());
  heap.release(second, 4096);
  EXPECT_EQ(heap.usage().acquired_bytes, 0u);
  EXPECT_EQ(heap.usage().acquisitions, 2u);
  EXPECT_EQ(heap.usage().failures, 0u);
  EXPECT_EQ(heap.usage().note, nullptr);
}

TEST(heap_source, counts_are_exact_with_many_threads) {
  mete::heap_source heap;
  std::vector<std::thread> threads;
  for (int which = 0; which < 4; ++which)
    threads.emplace_back([&heap] {
      for (std::size_t round = 0; round < 2000; ++round)
        heap.release(heap.acquire(100 + round % 50));
    });
  for (std::thread& each : threads)
    each.join();
  EXPECT_EQ(heap.usage().acquired_bytes, 0u);
  EXPECT_EQ(heap.usage().acquisitions, 8000u);
  EXPECT_LE(heap.usage().peak_bytes, 4u * 149u);
}

TEST(default_source, is_one) {
  EXPECT_EQ(&mete::default_source(), &mete::default_source());
}

TEST(buffer_source, random_use) {
  alignas(64) static std::array<std::byte, 400'000> buffer;
  for (const std::size_t offset : {0u, 1u, 15u}) {
    mete::buffer_source source{std::span(buffer).subspan(offset)};
    const std::size_t whole = source.free_bytes();
    EXPECT_GT(whole, buffer.size() - 64);
    mete::test::exercise_source(source, {.max_alignment = 4096, .seed = offset + 1});
    EXPECT_EQ(source.free_bytes(), whole) << "what came back is in one piece again";
    const auto all = source.acquire(whole);
    EXPECT_EQ(all.size(), whole);
    EXPECT_TRUE(source.acquire(1).empty());
    source.release(all);
  }
}

TEST(buffer_source, granules_leave_no_crumbs) {
  alignas(4096) static std::array<std::byte, 65'536> buffer;
  mete::buffer_source source(buffer, 4096);
  mete::test::exercise_source(source, {.max_bytes = 9000, .max_alignment = 16'384});
  const auto first = source.acquire(4096 - 16);
  const auto second = source.acquire(1);
  EXPECT_EQ(first.size(), 4096u);
  EXPECT_EQ(second.data(), first.data() + 4096);
  EXPECT_EQ(source.free_bytes(), buffer.size() - 8192);
  source.release(first);
  source.release(second);
  EXPECT_EQ(source.free_bytes(), buffer.size());
}

TEST(buffer_source, impossible_requests) {
  std::array<std::byte, 1024> buffer;
  mete::buffer_source source(buffer);
  mete::test::expect_impossible_acquisitions_fail(source);
}

TEST(buffer_source, a_buffer_that_is_too_small_gives_nothing) {
  std::array<std::byte, 64> buffer;
  for (std::size_t bytes = 0; bytes < 16; ++bytes) {
    mete::buffer_source source{std::span(buffer).first(bytes)};
    EXPECT_TRUE(source.acquire(1).empty());
    EXPECT_EQ(source.usage().failures, 1u);
  }
}

TEST(buffer_source_death_test, a_block_of_another_buffer) {
  alignas(16) std::array<std::byte, 256> buffer;
  alignas(16) std::array<std::byte, 256> other;
  mete::buffer_source source(buffer);
  EXPECT_DEATH(source.release(std::span(other).first(16)), "it is not of this buffer");
}

TEST(buffer_source_death_test, a_block_that_came_back_already) {
  alignas(16) std::array<std::byte, 256> buffer;
  mete::buffer_source source(buffer);
  const auto block = source.acquire(64);
  source.release(block);
  EXPECT_DEATH(source.release(block), "it, or a part of it, is free");
}

TEST(limit_source, random_use_stays_below_the_limit) {
  mete::heap_source heap;
  mete::limit_source limited(heap, 200'000);
  mete::test::exercise_source(limited);
  EXPECT_GT(limited.usage().failures, 0u);
  EXPECT_STREQ(limited.usage().note, "the limit was reached");
  EXPECT_LE(heap.usage().peak_bytes, 200'000u + 60'000u) << "rounding is asked for, then returned";
  EXPECT_LE(limited.usage().peak_bytes, 200'000u);
  EXPECT_EQ(heap.usage().acquired_bytes, 0u);
}

TEST(limit_source, gives_exactly_the_limit) {
  mete::heap_source heap;
  mete::limit_source limited(heap, 1000);
  EXPECT_EQ(limited.limit_bytes(), 1000u);
  const auto first = limited.acquire(600);
  EXPECT_TRUE(limited.acquire(401).empty());
  const auto second = limited.acquire(400);
  EXPECT_EQ(second.size(), 400u);
  EXPECT_TRUE(limited.acquire(1).empty());
  limited.release(first);
  EXPECT_TRUE(limited.acquire(601).empty());
  limited.release(second);
  mete::test::expect_impossible_acquisitions_fail(limited);
}

TEST(limit_source, many_threads_together_stay_below_the_limit) {
  mete::heap_source heap;
  mete::limit_source limited(heap, 1000);
  std::vector<std::thread> threads;
  for (int which = 0; which < 4; ++which)
    threads.emplace_back([&limited] {
      for (int round = 0; round < 2000; ++round)
        if (const auto block = limited.acquire(400); !block.empty())
          limited.release(block);
    });
  for (std::thread& each : threads)
    each.join();
  EXPECT_LE(heap.usage().peak_bytes, 1000u);
  EXPECT_EQ(limited.usage().acquired_bytes, 0u);
  const auto all = limited.acquire(1000);
  EXPECT_EQ(all.size(), 1000u) << "nothing of the limit was lost";
  limited.release(all);
}

TEST(limit_source, every_failure_of_the_source_leaves_the_limit_whole) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::limit_source limited(source, 1000);
    for (int round = 0; round < 3; ++round)
      if (const auto block = limited.acquire(1000); !block.empty())
        limited.release(block);
    EXPECT_EQ(limited.usage().acquired_bytes, 0u);
  });
}

TEST(resource_source, random_use) {
  std::pmr::unsynchronized_pool_resource pool;
  mete::resource_source source(&pool);
  mete::test::exercise_source(source);
}

TEST(resource_source, a_resource_that_throws_gives_nothing) {
  mete::resource_source source(std::pmr::null_memory_resource());
  EXPECT_TRUE(source.acquire(1).empty());
  EXPECT_EQ(source.usage().failures, 1u);
}

} // namespace
