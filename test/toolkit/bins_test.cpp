// SPDX-License-Identifier: MIT
#include <mete/adapt.hpp>
#include <mete/bins.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "support/containers.hpp"
#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::bins>);

TEST(size_classes, waste_is_an_eighth_at_most) {
  using classes = mete::detail::size_classes;
  for (std::size_t size = 1; size <= classes::max_bytes; ++size) {
    const std::size_t which = classes::of(size);
    ASSERT_LT(which, classes::count);
    ASSERT_GE(classes::bytes(which), size);
    ASSERT_LE(classes::bytes(which) - size, std::max<std::size_t>(7, size / 8)) << size;
    if (which != 0) {
      ASSERT_LT(classes::bytes(which - 1), size) << "a smaller class would do";
    }
  }
}

TEST(size_classes, slabs_lose_a_sixteenth_at_most) {
  for (std::size_t which = 0; which < mete::detail::size_classes::count; ++which) {
    const auto& at = mete::detail::class_geometries[which];
    EXPECT_EQ(at.block_bytes, mete::detail::size_classes::bytes(which));
    EXPECT_GE(at.capacity, 8u);
    EXPECT_LE((at.slab_bytes - at.capacity * at.block_bytes) * 16, at.slab_bytes) << at.block_bytes;
  }
}

TEST(bins, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    mete::heap_source source;
    mete::bins bins({.upstream = &source, .max_empty_bytes = (seed - 1) * 50'000});
    mete::test::exercise(bins, {.seed = seed, .live_limit = 2000, .max_size = seed * 2000});
    EXPECT_EQ(bins.check_invariants(), nullptr);
    EXPECT_EQ(bins.usage().used_bytes, 0u);
    bins.trim();
    EXPECT_EQ(bins.usage().reserved_bytes, 0u);
    EXPECT_EQ(source.usage().acquired_bytes, 0u);
  }
}

TEST(bins, rising_and_falling_use_agrees_with_the_model) {
  std::mt19937_64 random(3);
  mete::bins bins({.max_empty_bytes = 100'000});
  mete::test::model blocks(bins);
  for (int step = 0; step < 40'000; ++step) {
    const bool growing = step / 4000 % 2 == 0;
    if (blocks.live() == 0 || random() % 100 < (growing ? 80u : 20u)) {
      const std::size_t size = random() % (random() % 100 == 0 ? 20'000 : 300);
      ASSERT_TRUE(blocks.allocate(size, std::size_t{1} << random() % 8));
    } else {
      blocks.deallocate(random() % blocks.live());
    }
    if (random() % 1000 == 0)
      bins.trim();
    if (step % 500 == 0) {
      ASSERT_EQ(bins.check_invariants(), nullptr);
    }
  }
  blocks.check_all();
  blocks.deallocate_all();
  EXPECT_EQ(bins.check_invariants(), nullptr);
}

TEST(bins, block_bytes_says_what_is_given) {
  for (const std::size_t size : {0u, 1u, 24u, 100u, 1000u, 4096u, 4097u, 100'000u}) {
    for (const std::size_t alignment : {1u, 8u, 16u, 256u, 512u}) {
      mete::bins bins;
      const std::size_t bytes = mete::bins::block_bytes(size, alignment);
      EXPECT_GE(bytes, std::max<std::size_t>(size, 1));
      ASSERT_NE(bins.try_allocate(size, alignment), nullptr);
      EXPECT_EQ(bins.usage().used_bytes, bytes);
      EXPECT_EQ(bins.usage().peak_bytes, bytes);
      EXPECT_GE(bins.usage().largest_request_bytes, size);
      EXPECT_GE(bins.usage().reserved_bytes, bytes);
    }
  }
  EXPECT_EQ(mete::bins::block_bytes(SIZE_MAX, 8), 0u);
  EXPECT_EQ(mete::bins::block_bytes(8, 24), 0u);
  EXPECT_EQ(mete::bins::block_bytes(24, 16), 32u);
}

TEST(bins, nothing_is_acquired_before_the_first_allocation) {
  mete::heap_source source;
  mete::bins bins({.upstream = &source});
  bins.trim();
  EXPECT_FALSE(bins.owns(&source));
  EXPECT_EQ(source.usage().acquisitions, 0u);
  EXPECT_EQ(bins.check_invariants(), nullptr);
}

TEST(bins, slabs_become_empty_while_a_shrunken_heap_goes_on) {
  std::mt19937_64 random(5);
  mete::bins bins({.max_empty_bytes = 0});
  std::vector<void*> blocks(20'000);
  for (void*& each : blocks)
    each = bins.allocate(256);
  std::shuffle(blocks.begin(), blocks.end(), random);
  for (; blocks.size() > 5000; blocks.pop_back())
    bins.deallocate(blocks.back(), 256);
  for (int step = 0; step < 500; ++step) {
    std::shuffle(blocks.begin(), blocks.end(), random);
    for (std::size_t each = 0; each < 100; ++each)
      bins.deallocate(blocks[each], 256);
    for (std::size_t each = 0; each < 100; ++each)
      blocks[each] = bins.allocate(256);
  }
  EXPECT_EQ(bins.check_invariants(), nullptr);
  EXPECT_LT(bins.usage().reserved_bytes, bins.usage().used_bytes * 5 / 4);
  for (void* each : blocks)
    bins.deallocate(each, 256);
}

TEST(bins, memory_goes_back_by_itself) {
  mete::heap_source source;
  mete::bins bins({.upstream = &source, .max_empty_bytes = 200'000});
  mete::test::model blocks(bins);
  for (int count = 0; count < 10'000; ++count)
    ASSERT_TRUE(blocks.allocate(static_cast<std::size_t>(count % 1000), 8));
  const std::size_t full = bins.usage().reserved_bytes;
  blocks.deallocate_all();
  // What bins hold on to: the slab that they take from, and that of the last freed block.
  std::size_t held = 0;
  for (const auto& at : mete::detail::class_geometries)
    held += at.block_bytes <= 1024 ? 2 * at.slab_bytes : 0;
  EXPECT_LE(bins.usage().reserved_bytes, 200'000 + held);
  EXPECT_LT(bins.usage().reserved_bytes, full / 2);
  EXPECT_GE(source.usage().acquired_bytes, bins.usage().reserved_bytes);
  bins.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(bins, empty_slabs_serve_other_sizes) {
  mete::heap_source source;
  mete::bins bins({.upstream = &source, .max_empty_bytes = 10'000'000});
  std::size_t acquisitions = 0;
  for (std::size_t size = 16; size <= 512; size *= 2) {
    std::vector<void*> blocks(1'000'000 / size);
    for (void*& each : blocks)
      each = bins.allocate(size);
    if (size == 16)
      acquisitions = source.usage().acquisitions;
    for (void* const each : blocks)
      bins.deallocate(each, size);
  }
  EXPECT_LE(source.usage().acquisitions, acquisitions + 25) << "tables and a few slabs";
}

TEST(bins, large_blocks_come_and_go_alone) {
  mete::heap_source source;
  mete::bins bins({.upstream = &source});
  void* const block = bins.allocate(1'000'000);
  EXPECT_GE(source.usage().acquired_bytes, 1'000'000u);
  EXPECT_TRUE(bins.owns(block));
  bins.deallocate(block, 1'000'000);
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
  EXPECT_FALSE(bins.owns(block));
  EXPECT_EQ(bins.usage().peak_bytes, 1'000'000u);
}

TEST(bins, what_lives_at_the_end_goes_back) {
  mete::heap_source source;
  {
    mete::bins bins({.upstream = &source});
    for (std::size_t size = 1; size < 100'000; size = size * 5 / 4 + 1)
      ASSERT_NE(bins.try_allocate(size), nullptr);
  }
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(bins, alignments) {
  mete::bins bins;
  for (const std::size_t size : {1u, 24u, 72u, 300u, 1100u, 4096u, 5000u})
    mete::test::expect_alignments(bins, size, 1 << 16);
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2)
    for (std::size_t size = 1; size <= 5000; size += 37)
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(bins.allocate(size, alignment)) % alignment, 0u)
          << size << ", " << alignment;
  EXPECT_EQ(bins.check_invariants(), nullptr);
}

TEST(bins, impossible_requests) {
  mete::heap_source heap;
  mete::limit_source source(heap, 100'000);
  mete::bins bins({.name = "parser", .upstream = &source});
  mete::test::expect_impossible_requests_fail(bins);
  mete::test::expect_exhaustion_is_told(bins, 200'000);
  EXPECT_NE(bins.try_allocate(0), nullptr);
}

TEST(bins, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::bins bins({.upstream = &source, .max_empty_bytes = 40'000});
    mete::test::model blocks(bins);
    for (int round = 0; round < 2; ++round) {
      for (std::size_t count = 0; count < 150; ++count)
        static_cast<void>(blocks.allocate(count % 3 == 0 ? 1000 : count * 50, 8));
      while (blocks.live() > 20)
        blocks.deallocate(blocks.live() / 2);
      bins.trim();
      EXPECT_EQ(bins.check_invariants(), nullptr);
    }
    blocks.deallocate_all();
  });
}

TEST(bins, standard_containers) {
  mete::bins bins;
  {
    mete::resource_ref on(bins);
    mete::test::expect_containers_work(on);
  }
  EXPECT_EQ(bins.usage().used_bytes, 0u);
}

TEST(bins_death_test, misuse) {
  mete::bins bins({.name = "parser"});
  mete::bins other;
  int elsewhere = 0;
  auto* const one = static_cast<std::byte*>(bins.allocate(64));
  void* const two = bins.allocate(64);
  auto* const large = static_cast<std::byte*>(bins.allocate(10'000));
  EXPECT_DEATH(bins.deallocate(&elsewhere, 64), "parser: foreign free");
  EXPECT_DEATH(bins.deallocate(&elsewhere, 10'000), "parser: foreign free");
  EXPECT_DEATH(bins.deallocate(other.allocate(64), 64), "parser: foreign free");
  EXPECT_DEATH(bins.deallocate(one + 8, 64), "parser: invalid free");
  EXPECT_DEATH(bins.deallocate(one, 100), "parser: invalid free .*another size");
  EXPECT_DEATH(bins.deallocate(one, 10'000), "parser: invalid free .*another size");
  EXPECT_DEATH(bins.deallocate(large, 10'001), "parser: invalid free .*another size");
  bins.deallocate(one, 64);
  bins.deallocate(two, 64);
  bins.deallocate(large, 10'000);
  EXPECT_DEATH(bins.deallocate(one, 64), "parser: double free") << "not only the last one";
  EXPECT_DEATH(bins.deallocate(two, 64), "parser: double free");
  EXPECT_DEATH(bins.deallocate(large, 10'000), "parser: foreign free");
}

} // namespace
