// SPDX-License-Identifier: MIT
#include "front/emergency.hpp"

#include "base/options.hpp"
#include "base/units.hpp"
#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <thread>
#include <utility>
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

std::size_t count_chunks() {
  std::size_t count = 0;
  while (emergency_chunks[count].load() != nullptr)
    ++count;
  return count;
}

char* allocate_filled(std::size_t size) {
  auto* const block = static_cast<char*>(allocate_emergency(size, 1));
  if (block != nullptr)
    std::memset(block, 1, size);
  return block;
}

// One block that lives long keeps nothing but itself.
TEST(emergency_test, what_is_freed_is_used_again) {
  constexpr std::size_t sizes[] = {1, 40, 1000, 9000, 100'000, 1'000'000, 5'000'000};
  std::vector<void*> long_lived;
  std::vector<char*> held(40);
  std::size_t after_first_round = 0;
  for (int round = 0; round < 100; ++round) {
    for (std::size_t step = 0; step < 1000; ++step) {
      char*& block = held[step % held.size()];
      if (block != nullptr)
        release_emergency(block);
      block =
          static_cast<char*>(allocate_emergency(sizes[(step + step / 40) % std::size(sizes)], 1));
      ASSERT_NE(block, nullptr);
    }
    if (round == 0)
      after_first_round = count_chunks();
    if (round < 10)
      long_lived.push_back(
          allocate_emergency(sizes[static_cast<std::size_t>(round) % std::size(sizes)], 1));
  }
  EXPECT_LE(count_chunks(), after_first_round + long_lived.size());
  for (void* block : held)
    release_emergency(block);
  for (void* block : long_lived)
    release_emergency(block);
}

// Freed memory can still be read, and shows that way whether it was given back.
TEST(emergency_test, what_nothing_uses_is_given_back) {
  constexpr std::size_t total = 8 * MiB;
  for (const std::size_t size : std::initializer_list<std::size_t>{32, 1000, 8000, 16384, 300'000})
    for (const bool some_stay : {false, true}) {
      std::vector<char*> blocks, stay;
      for (std::size_t sum = 0; sum < total; sum += size)
        blocks.push_back(allocate_filled(size));
      std::size_t kept = 0;
      for (std::size_t index = 0; index < blocks.size(); ++index) {
        ASSERT_NE(blocks[index], nullptr);
        if (some_stay && index % (blocks.size() / 4) == 0)
          stay.push_back(blocks[index]);
        else
          release_emergency(blocks[index]);
      }
      for (const char* block : blocks)
        kept += block[size - 1] == 1 ? size : 0;
      // The first stretch, and those in which something stays.
      EXPECT_LE(kept, (1 + stay.size()) * std::max<std::size_t>(64 * KiB, 64 * 8192))
          << "blocks of " << size << " bytes";
      for (char* block : stay) {
        EXPECT_EQ(block[size - 1], 1);
        release_emergency(block);
      }
    }
}

TEST(emergency_test, a_block_with_a_chunk_for_itself_comes_again) {
  constexpr std::size_t bytes = 3'000'000;
  char* const first = allocate_filled(bytes);
  ASSERT_NE(first, nullptr);
  release_emergency(first);
  auto* const again = static_cast<char*>(allocate_emergency(bytes - 100'000, 1));
  EXPECT_EQ(again, first);
  EXPECT_EQ(again[bytes / 2], 0) << "it was not purged";
  void* const small_one = allocate_emergency(bytes / 2 - 100'000, 1);
  release_emergency(again);
  void* const too_small = allocate_emergency(bytes / 2 - 100'000, 1);
  EXPECT_NE(too_small, first) << "the half of it would lie idle";
  release_emergency(too_small);
  release_emergency(small_one);
}

// Enough of each size that stretches, and blocks with pages of their own, are purged between
// others: all is freed again and again, each time beginning with what was taken last, or first.
TEST(emergency_test, many_threads_share_the_arena) {
  constexpr int threads = 4;
  static constexpr std::size_t sizes[] = {60, 500, 2000, 20'000};
  std::vector<std::thread> crowd;
  for (int index = 0; index < threads; ++index)
    crowd.emplace_back([index] {
      std::vector<std::pair<char*, std::size_t>> held;
      for (std::size_t round = 0; round < 60; ++round) {
        for (std::size_t step = 0; step < 400 + 37 * round; ++step) {
          const std::size_t size = sizes[(step + round) % std::size(sizes)];
          auto* const block = static_cast<char*>(allocate_emergency(size, 1));
          ASSERT_NE(block, nullptr);
          std::memset(block, index, size);
          held.emplace_back(block, size);
        }
        if (round % 2 == 0)
          std::reverse(held.begin(), held.end());
        for (const auto& [block, size] : held) {
          for (std::size_t at = 0; at < size; at += 59)
            ASSERT_EQ(block[at], static_cast<char>(index));
          ASSERT_EQ(block[size - 1], static_cast<char>(index));
          release_emergency(block);
        }
        held.clear();
      }
    });
  for (std::thread& each : crowd)
    each.join();
}

TEST(emergency_test, blocks_that_grow_step_by_step_need_few_chunks) {
  const std::size_t before = count_chunks();
  void* block = allocate_emergency(2 * MiB, 1);
  for (std::size_t size = 2 * MiB; size < 64 * MiB; size += 64 * KiB) {
    void* const grown = allocate_emergency(size, 1);
    ASSERT_NE(grown, nullptr);
    release_emergency(block);
    block = grown;
  }
  release_emergency(block);
  EXPECT_LE(count_chunks() - before, (8u * 5 + 1) * 2) << "41 sizes, 2 and 64 MiB among them";
}

TEST(emergency_test, a_chunk_that_the_kernel_refuses_is_tried_smaller) {
#if defined(METE_FAULT_INJECTION)
  constexpr std::size_t bytes = 256 * KiB; // of which no other test has blocks
  const auto allocate_failing = [](long long call, long long calls) {
    options.fail_os_calls.store(calls);
    options.fail_os_call.store(static_cast<long long>(os::counted_calls()) + call);
    void* const block = allocate_emergency(bytes, 1);
    options.fail_os_call.store(0);
    options.fail_os_calls.store(1);
    return block;
  };
  std::vector<void*> blocks;
  const auto fill_all_chunks = [&] {
    while (void* const block = allocate_failing(1, 1000))
      blocks.push_back(block);
  };
  constexpr int calls_for_a_chunk = 3;
  fill_all_chunks();
  for (int call = 1; call <= calls_for_a_chunk; ++call)
    EXPECT_EQ(allocate_failing(call, 1), nullptr) << "the first chunk is the smallest";
  blocks.push_back(allocate_emergency(4 * bytes, 1));
  blocks.push_back(allocate_failing(1, 1));
  EXPECT_EQ(emergency_bytes("", blocks.back()), 4 * bytes) << "rather a larger one than none";
  fill_all_chunks();

  const std::size_t others = blocks.size();
  blocks.push_back(allocate_emergency(bytes, 1));
  fill_all_chunks();
  const std::size_t first_chunk = blocks.size() - others;
  EXPECT_GT(first_chunk, 1u);
  for (int call = 1; call <= calls_for_a_chunk; ++call) {
    const std::size_t before = blocks.size();
    blocks.push_back(allocate_failing(call, 1));
    fill_all_chunks();
    EXPECT_EQ(blocks.size() - before, first_chunk << (2 * (call - 1))) << "a quarter of four times";
  }
  for (void* block : blocks)
    release_emergency(block);
#else
  GTEST_SKIP() << "needs fault injection (the debug build)";
#endif
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

TEST(emergency_death_test, misuse_is_reported) {
  void* const block = allocate_emergency(100, 1);
  EXPECT_DEATH(release_emergency(static_cast<char*>(block) + 16), "invalid free");
  release_emergency(block);
  EXPECT_DEATH(release_emergency(block), "invalid free");
  EXPECT_DEATH((void)emergency_bytes("invalid realloc", block), "invalid realloc");
}

} // namespace
} // namespace mete::front
