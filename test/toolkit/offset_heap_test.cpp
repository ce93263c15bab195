// SPDX-License-Identifier: MIT
#include <mete/offset_heap.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/failing_source.hpp"
#include "support/requests.hpp"

namespace {

using mete::offset_block;
using mete::offset_heap;

// The blocks that live, by offset: none overlap, all are aligned and inside.
class model {
public:
  explicit model(offset_heap& under_test) : heap_(under_test) {}

  bool allocate(std::uint64_t size, std::uint64_t alignment) {
    const auto given = heap_.try_allocate(size, alignment);
    if (!given)
      return false;
    EXPECT_EQ(given->offset % alignment, 0u);
    EXPECT_LE(size, heap_.bytes_of(*given));
    EXPECT_LE(given->offset + size, heap_.capacity_bytes());
    const auto next = blocks_.lower_bound(given->offset);
    if (next != blocks_.end()) {
      EXPECT_LE(given->offset + size, next->first) << "overlaps the next block";
    }
    if (next != blocks_.begin()) {
      EXPECT_LE(std::prev(next)->first + std::prev(next)->second.second, given->offset)
          << "overlaps the block before";
    }
    blocks_[given->offset] = {*given, std::max<std::uint64_t>(size, 1)};
    return true;
  }
  void deallocate(std::size_t index) {
    const auto at = std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(index));
    EXPECT_TRUE(heap_.owns(at->second.first));
    heap_.deallocate(at->second.first);
    EXPECT_FALSE(heap_.owns(at->second.first));
    blocks_.erase(at);
  }
  void deallocate_all() {
    while (live() != 0)
      deallocate(live() - 1);
  }
  std::size_t live() const { return blocks_.size(); }

private:
  offset_heap& heap_;
  std::map<std::uint64_t, std::pair<offset_block, std::uint64_t>> blocks_;
};

TEST(offset_heap, random_use_agrees_with_the_model) {
  for (const std::uint64_t granularity : {1U, 16U, 256U}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      std::mt19937_64 random(seed);
      offset_heap heap({.capacity_bytes = 1 << 19, .granularity = granularity});
      model blocks(heap);
      for (int step = 0; step < 20'000; ++step) {
        if (random() % 100 < (step / 2000 % 2 == 0 ? 60u : 45u))
          static_cast<void>(blocks.allocate(random() % (random() % 5000 + 1),
                                            std::uint64_t{1} << (random() % 13)));
        else if (blocks.live() != 0)
          blocks.deallocate(random() % blocks.live());
        ASSERT_EQ(heap.live_blocks(), blocks.live());
        if (step % 100 == 0) {
          ASSERT_EQ(heap.check_invariants(), nullptr);
        }
        if (step % 3000 == 0) {
          ASSERT_TRUE(heap.grow(10'000));
        }
      }
      blocks.deallocate_all();
      EXPECT_EQ(heap.check_invariants(), nullptr);
      EXPECT_EQ(heap.largest_free(), heap.capacity_bytes()) << "all must be joined again";
      heap.trim();
      EXPECT_EQ(heap.largest_free(), heap.capacity_bytes());
      EXPECT_TRUE(blocks.allocate(heap.capacity_bytes(), 1)) << "of use afterwards";
    }
  }
}

TEST(offset_heap, largest_free_is_what_can_be_had) {
  std::mt19937_64 random(5);
  offset_heap heap({.capacity_bytes = 200'000, .granularity = 1});
  model blocks(heap);
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0)
      static_cast<void>(blocks.allocate(random() % 4000, std::uint64_t{1} << (random() % 9)));
    else if (blocks.live() != 0)
      blocks.deallocate(random() % blocks.live());
    const std::uint64_t largest = heap.largest_free();
    if (largest != 0) {
      const auto block = heap.try_allocate(largest);
      ASSERT_TRUE(block) << largest;
      heap.deallocate(*block);
    }
  }
}

TEST(offset_heap, offsets_have_64_bits) {
  constexpr std::uint64_t exbibyte = std::uint64_t{1} << 60;
  offset_heap heap({.capacity_bytes = 3 * exbibyte});
  const auto low = heap.allocate(exbibyte);
  const auto high = heap.allocate(exbibyte, exbibyte);
  EXPECT_EQ(high.offset, exbibyte);
  EXPECT_FALSE(heap.grow(2 * exbibyte)) << "too large";
  EXPECT_FALSE(heap.grow(UINT64_MAX));
  EXPECT_TRUE(heap.grow(exbibyte));
  EXPECT_EQ(heap.largest_free(), 2 * exbibyte);
  EXPECT_FALSE(heap.try_allocate(exbibyte + 1, 4 * exbibyte)) << "only 0 is aligned so";
  heap.deallocate(low);
  EXPECT_TRUE(heap.try_allocate(exbibyte, 4 * exbibyte));
  EXPECT_EQ(heap.check_invariants(), nullptr);
}

TEST(offset_heap, impossible_requests) {
  offset_heap heap({.name = "vertices", .capacity_bytes = 1 << 20});
  for (const std::uint64_t size : {UINT64_MAX, UINT64_MAX - 15, UINT64_MAX / 2 + 1})
    for (std::uint64_t alignment = 1; alignment != 0; alignment *= 2)
      EXPECT_FALSE(heap.try_allocate(size, alignment));
  for (const std::uint64_t alignment : {std::uint64_t{0}, std::uint64_t{3}, UINT64_MAX})
    EXPECT_FALSE(heap.try_allocate(1, alignment));
  for (std::uint64_t alignment = 1; alignment != 0; alignment *= 2) {
    const auto block = heap.try_allocate(24, alignment); // at 0, whatever the alignment
    EXPECT_EQ(block.has_value(), alignment <= std::uint64_t{1} << 62) << alignment;
    if (block)
      heap.deallocate(*block);
  }
  mete::test::expect_exhaustion_is_told(heap, (1 << 20) + 1);
}

TEST(offset_heap, options_that_cannot_be_give_nothing) {
  for (const std::uint64_t granularity :
       {std::uint64_t{0}, std::uint64_t{24}, std::uint64_t{1} << 63}) {
    offset_heap heap({.capacity_bytes = 1 << 20, .granularity = granularity});
    EXPECT_FALSE(heap.try_allocate(0));
    EXPECT_FALSE(heap.try_allocate(1));
  }
  offset_heap empty;
  EXPECT_FALSE(empty.try_allocate(0));
  EXPECT_EQ(empty.largest_free(), 0u);
  EXPECT_EQ(empty.check_invariants(), nullptr);
  EXPECT_TRUE(empty.grow(100));
  EXPECT_EQ(empty.capacity_bytes(), 96u) << "whole granules";
  EXPECT_TRUE(empty.try_allocate(96));
}

TEST(offset_heap, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    offset_heap heap({.upstream = &source, .capacity_bytes = 1 << 20});
    model blocks(heap);
    for (int round = 0; round < 2; ++round) {
      for (int count = 0; count < 300; ++count)
        static_cast<void>(blocks.allocate(100, 256));
      static_cast<void>(heap.grow(1000));
      EXPECT_EQ(heap.check_invariants(), nullptr);
      blocks.deallocate_all();
      heap.trim();
    }
  });
}

TEST(offset_heap, a_reserved_table_is_acquired_once) {
  mete::heap_source source;
  offset_heap heap({.upstream = &source, .capacity_bytes = 1 << 20, .reserve_blocks = 1002});
  EXPECT_EQ(source.usage().acquisitions, 0u);
  for (int count = 0; count < 1000; ++count)
    EXPECT_TRUE(heap.try_allocate(64));
  EXPECT_EQ(source.usage().acquisitions, 1u);
}

TEST(offset_heap, tells_all_as_json) {
  offset_heap heap({.name = "a\"b\\\n", .capacity_bytes = 64});
  const auto dump = [&] {
    std::string text;
    heap.dump_json([&](std::string_view part) { text += part; });
    return text;
  };
  EXPECT_EQ(dump(), R"({"name":"a\u0022b\u005c\u000a","capacity_bytes":64,"used_bytes":0,)"
                    R"("peak_bytes":0,"largest_free":64,"blocks":[)"
                    R"({"offset":0,"bytes":64,"free":true}]})");
  static_cast<void>(heap.allocate(10));
  EXPECT_EQ(dump(),
            R"({"name":"a\u0022b\u005c\u000a","capacity_bytes":64,"used_bytes":16,)"
            R"("peak_bytes":16,"largest_free":48,"blocks":[)"
            R"({"offset":0,"bytes":16,"free":false},{"offset":16,"bytes":48,"free":true}]})");
}

TEST(offset_heap, fragmentation_stays_low) {
  std::mt19937_64 random(3);
  offset_heap heap({.capacity_bytes = 32 << 20});
  constexpr std::uint64_t mean_size = 1028;
  std::vector<std::pair<offset_block, std::uint64_t>> blocks;
  std::uint64_t live_bytes = 0;
  std::uint64_t live_peak = 0;
  std::uint64_t high = 0;
  for (int step = 0; step < 200'000; ++step) {
    const std::uint64_t size = 8 + random() % (random() % 4 == 0 ? 7000 : 400);
    blocks.emplace_back(heap.allocate(size), size);
    high = std::max(high, blocks.back().first.offset + size);
    live_bytes += size;
    live_peak = std::max(live_peak, live_bytes);
    while (blocks.size() > 10'000) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      live_bytes -= blocks.back().second;
      heap.deallocate(blocks.back().first);
      blocks.pop_back();
    }
  }
  std::uint64_t unfit = 0;
  heap.for_each_block([&](std::uint64_t, std::uint64_t bytes, bool is_free) {
    unfit += is_free && bytes < mean_size ? bytes : 0;
  });
  const auto used = static_cast<double>(high);
  RecordProperty("high_water_per_live", std::to_string(used / static_cast<double>(live_peak)));
  RecordProperty("unfit_share", std::to_string(static_cast<double>(unfit) / used));
  EXPECT_LT(used / static_cast<double>(live_peak), 1.15);
  EXPECT_LT(static_cast<double>(unfit) / used, 0.05);
}

TEST(offset_heap_death_test, misuse) {
  offset_heap heap({.name = "vertices", .capacity_bytes = 1 << 20});
  EXPECT_DEATH(heap.deallocate({0, 0, 0}), "vertices: double or invalid free");
  const auto one = heap.allocate(100);
  const auto two = heap.allocate(100);
  heap.deallocate(one);
  EXPECT_DEATH(heap.deallocate(one), "vertices: double or invalid free");
  EXPECT_EQ(heap.allocate(100).offset, one.offset) << "the same entry, another generation";
  EXPECT_DEATH(heap.deallocate(one), "vertices: double or invalid free");
  EXPECT_DEATH(heap.deallocate({two.offset + 16, two.entry, two.generation}),
               "vertices: double or invalid free");
  EXPECT_DEATH(heap.deallocate({two.offset, UINT32_MAX, two.generation}),
               "vertices: double or invalid free");
  EXPECT_DEATH(static_cast<void>(heap.bytes_of(one)), "vertices: double or invalid free");
}

TEST(offset_heap_death_test, a_block_from_before_a_trim) {
  offset_heap heap({.name = "vertices", .capacity_bytes = 1 << 20});
  const auto before = heap.allocate(100);
  heap.deallocate(before);
  heap.trim();
  EXPECT_DEATH(heap.deallocate(before), "vertices: double or invalid free");
  EXPECT_EQ(heap.allocate(100).offset, before.offset);
  EXPECT_DEATH(heap.deallocate(before), "vertices: double or invalid free");
}

} // namespace
