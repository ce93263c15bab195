// The arena is the process's own: tests look at differences, not at totals.
//
// SPDX-License-Identifier: MIT
#include "page/metadata.hpp"

#include "base/units.hpp"
#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace mete::page {
namespace {

class metadata_test : public testing::Test {
protected:
  metadata_test() { os::initialise_memory(); }

  static bool is_zero(const void* memory, std::size_t bytes) {
    const auto* const begin = static_cast<const char*>(memory);
    return std::all_of(begin, begin + bytes, [](char byte) { return byte == 0; });
  }
};

TEST_F(metadata_test, memory_is_zero_and_aligned_and_counted) {
  for (std::size_t bytes : {std::size_t{1}, std::size_t{64}, std::size_t{65}, 3 * KiB, 32 * KiB}) {
    const std::size_t rounded =
        (bytes + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
    const metadata_usage before = metadata_in_use();
    void* const memory = allocate_metadata(bytes);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % cache_line_bytes, 0u);
    EXPECT_TRUE(is_zero(memory, rounded));
    EXPECT_EQ(metadata_in_use().used_bytes, before.used_bytes + rounded);
    std::memset(memory, 0xff, rounded);
    release_metadata(memory, bytes);
    EXPECT_EQ(metadata_in_use().used_bytes, before.used_bytes);
  }
}

TEST_F(metadata_test, what_is_freed_serves_the_same_size_again_and_is_zero_again) {
  constexpr std::size_t bytes = 7 * cache_line_bytes;
  void* const first = allocate_metadata(bytes);
  std::memset(first, 0xff, bytes);
  release_metadata(first, bytes);
  const std::size_t mapped = metadata_in_use().mapped_bytes;
  void* const other_size = allocate_metadata(bytes + cache_line_bytes);
  void* const second = allocate_metadata(bytes - cache_line_bytes + 1);
  EXPECT_EQ(second, first);
  EXPECT_NE(other_size, first);
  EXPECT_TRUE(is_zero(second, bytes));
  for (int round = 0; round < 10'000; ++round) {
    release_metadata(second, bytes);
    ASSERT_EQ(allocate_metadata(bytes), second);
  }
  EXPECT_LE(metadata_in_use().mapped_bytes, mapped + 256 * KiB);
  release_metadata(second, bytes);
  release_metadata(other_size, bytes + cache_line_bytes);
}

TEST_F(metadata_test, blocks_of_many_threads_do_not_overlap) {
  struct piece {
    unsigned char* begin;
    std::size_t bytes;
  };
  const auto work = [](unsigned seed) {
    std::minstd_rand random(seed);
    std::vector<piece> live;
    for (int step = 0; step < 3000; ++step) {
      if (live.size() < 60 && random() % 2 == 0) {
        const std::size_t bytes = 1 + random() % (random() % 16 == 0 ? metadata_max_bytes : 1000);
        auto* const begin = static_cast<unsigned char*>(allocate_metadata(bytes));
        ASSERT_NE(begin, nullptr);
        ASSERT_TRUE(is_zero(begin, bytes));
        std::memset(begin, static_cast<int>(seed), bytes);
        live.push_back({begin, bytes});
      } else if (!live.empty()) {
        std::swap(live[random() % live.size()], live.back());
        const piece freed = live.back();
        live.pop_back();
        ASSERT_TRUE(std::all_of(freed.begin, freed.begin + freed.bytes,
                                [seed](unsigned char byte) { return byte == seed; }));
        release_metadata(freed.begin, freed.bytes);
      }
    }
    for (const piece& each : live)
      release_metadata(each.begin, each.bytes);
  };
  const std::size_t before = metadata_in_use().used_bytes;
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed)
    threads.emplace_back(work, seed);
  for (std::thread& each : threads)
    each.join();
  EXPECT_EQ(metadata_in_use().used_bytes, before);
}

} // namespace
} // namespace mete::page
