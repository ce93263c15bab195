// SPDX-License-Identifier: MIT
#include "front/emergency.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace mete::front {
namespace {

TEST(emergency_test, blocks_are_aligned_apart_and_known) {
  std::vector<void*> blocks;
  for (const std::size_t size :
       std::initializer_list<std::size_t>{0, 1, 16, 17, 1000, 100'000, 5'000'000})
    for (const std::size_t alignment :
         std::initializer_list<std::size_t>{1, 16, 64, 4096, 65536, 1 << 20}) {
      void* const block = allocate_emergency(size, alignment);
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 16, 0u);
      EXPECT_GE(emergency_bytes("", block), size);
      EXPECT_TRUE(is_emergency_block(block));
      std::memset(block, static_cast<int>(blocks.size()), emergency_bytes("", block));
      blocks.push_back(block);
    }
  int value = 0;
  for (void* block : blocks) {
    const auto* const bytes = static_cast<unsigned char*>(block);
    const std::size_t size = emergency_bytes("", block);
    EXPECT_EQ(bytes[0], value);
    EXPECT_EQ(bytes[size - 1], value);
    ++value;
  }
  for (void* block : blocks)
    release_emergency(block);
  int local = 0;
  EXPECT_FALSE(is_emergency_block(&local));
  EXPECT_FALSE(is_emergency_block(nullptr));
}

TEST(emergency_test, a_chunk_starts_over_when_its_last_block_is_freed) {
  // In whichever chunk it is: nothing else lives there.
  constexpr std::size_t bytes = 3'000'000; // enough to be purged
  void* const first = allocate_emergency(bytes, 1);
  void* const second = allocate_emergency(100, 1);
  std::memset(first, 1, bytes);
  release_emergency(first);
  void* const third = allocate_emergency(100, 1);
  EXPECT_NE(third, first) << "the second one lives";
  release_emergency(second);
  release_emergency(third);
  void* const again = allocate_emergency(bytes, 1);
  EXPECT_EQ(again, first);
  EXPECT_EQ(static_cast<char*>(again)[bytes / 2], 0) << "it was not purged";
  release_emergency(again);
}

TEST(emergency_test, many_threads_share_the_arena) {
  constexpr int threads = 4, rounds = 3000;
  std::vector<std::thread> crowd;
  for (int index = 0; index < threads; ++index)
    crowd.emplace_back([index] {
      char* held[16] = {};
      for (int round = 0; round < rounds; ++round) {
        char*& block = held[round % 16];
        if (block != nullptr) {
          ASSERT_EQ(block[0], static_cast<char>(index));
          ASSERT_EQ(block[99], static_cast<char>(index));
          release_emergency(block);
        }
        block = static_cast<char*>(allocate_emergency(100, 1));
        ASSERT_NE(block, nullptr);
        std::memset(block, index, 100);
      }
      for (char* block : held)
        release_emergency(block);
    });
  for (std::thread& each : crowd)
    each.join();
}

TEST(emergency_test, more_than_there_can_be_is_refused) {
  EXPECT_EQ(allocate_emergency(SIZE_MAX, 1), nullptr);
  EXPECT_EQ(allocate_emergency(PTRDIFF_MAX, 1), nullptr);
  EXPECT_EQ(allocate_emergency(1, std::size_t{1} << 62), nullptr);
}

TEST(emergency_test, only_live_blocks_live) {
  void* const block = allocate_emergency(100, 1);
  EXPECT_TRUE(lives_in_emergency_chunk(block));
  EXPECT_FALSE(lives_in_emergency_chunk(static_cast<char*>(block) + 16));
  EXPECT_FALSE(lives_in_emergency_chunk(static_cast<char*>(block) + 1));
  release_emergency(block);
  EXPECT_FALSE(lives_in_emergency_chunk(block));
}

TEST(emergency_test, deferred_work_runs_once) {
  static int sum;
  sum = 0;
  int one = 1;
  defer([](void* argument) { sum += *static_cast<int*>(argument); }, &one);
  const int ten = 10;
  defer_with_copy([](void* argument) { sum += *static_cast<int*>(argument); }, &ten, sizeof ten);
  EXPECT_TRUE(deferred_work_waits());
  EXPECT_EQ(sum, 0);
  run_deferred_work();
  EXPECT_EQ(sum, 11);
  EXPECT_FALSE(deferred_work_waits());
  run_deferred_work();
  EXPECT_EQ(sum, 11);
}

// A free that cannot be done yet must not end up behind the destruction of its heap, which somebody
// asked for meanwhile.
TEST(emergency_test, what_is_put_off_once_more_stays_in_front) {
  static std::string order;
  order.clear();
  defer(
      [](void*) {
        std::thread([] { defer([](void*) { order += "destroyed "; }, nullptr); }).join();
        defer([](void*) { order += "freed "; }, nullptr);
        EXPECT_FALSE(finish_deferred_work()) << "it is at work itself";
      },
      nullptr);
  run_deferred_work();
  EXPECT_EQ(order, "");
  EXPECT_TRUE(finish_deferred_work());
  EXPECT_EQ(order, "freed destroyed ");
}

TEST(emergency_death_test, misuse_is_reported) {
  void* const block = allocate_emergency(100, 1);
  EXPECT_DEATH(release_emergency(static_cast<char*>(block) + 16), "invalid free");
  release_emergency(block);
  EXPECT_DEATH(release_emergency(block), "invalid free");
  EXPECT_DEATH((void)emergency_bytes("invalid realloc", block), "invalid realloc");
}

} // namespace
} // namespace mete::front
