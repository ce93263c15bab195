// The table of mappings against std::map, with many entries: enough that it grows several times and
// that deletions leave holes in long probe sequences.
//
// SPDX-License-Identifier: MIT
#include "heap/mapping.hpp"

#include "base/units.hpp"
#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace mete::heap {
namespace {

class mapping_test : public testing::Test {
protected:
  mapping_test() {
    os::initialise_memory();
    before = mappings_in_use();
  }
  ~mapping_test() override {
    EXPECT_EQ(mappings_in_use().count, before.count);
    EXPECT_EQ(mappings_in_use().bytes, before.bytes);
  }

  mapping_usage before;
};

TEST_F(mapping_test, a_mapping_is_zero_whole_pages_and_aligned) {
  for (std::size_t alignment : {std::size_t{16}, unit_bytes, 2 * MiB, 8 * MiB}) {
    char* const begin = allocate_mapping(100 * KiB + 1, alignment);
    ASSERT_NE(begin, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(begin) % alignment, 0u);
    const std::size_t bytes = mapping_bytes(begin);
    EXPECT_EQ(bytes, (100 * KiB + os::page_bytes) / os::page_bytes * os::page_bytes);
    for (std::size_t at = 0; at < bytes; ++at)
      ASSERT_EQ(begin[at], 0);
    EXPECT_EQ(mapping_attachment(begin), nullptr);
    EXPECT_EQ(release_mapping(begin), bytes);
  }
}

TEST_F(mapping_test, only_the_beginning_of_a_live_mapping_is_one) {
  char* const begin = allocate_mapping(64 * KiB, 16);
  EXPECT_EQ(mapping_bytes(begin + os::page_bytes), 0u);
  EXPECT_EQ(release_mapping(begin + 16), 0u);
  EXPECT_NE(release_mapping(begin), 0u);
  EXPECT_EQ(mapping_bytes(begin), 0u);
  EXPECT_EQ(release_mapping(begin), 0u) << "a second time";
  EXPECT_EQ(release_mapping(nullptr), 0u);
}

TEST_F(mapping_test, resizing_keeps_contents_and_attachment_and_adds_zeroes) {
  int keeper = 0;
  char* begin = allocate_mapping(64 * KiB, 16);
  attach_to_mapping(begin, &keeper);
  std::memset(begin, 7, 64 * KiB);
  begin = resize_mapping(begin, 10 * MiB);
  ASSERT_NE(begin, nullptr);
  EXPECT_EQ(mapping_bytes(begin), 10 * MiB);
  EXPECT_EQ(mapping_attachment(begin), &keeper);
  for (std::size_t at = 0; at < 10 * MiB; at += 511)
    ASSERT_EQ(begin[at], at < 64 * KiB ? 7 : 0) << at;
  EXPECT_EQ(resize_mapping(begin, 10 * MiB), begin);
  begin = resize_mapping(begin, 128 * KiB);
  EXPECT_EQ(mapping_bytes(begin), 128 * KiB);
  EXPECT_EQ(mappings_in_use().bytes, before.bytes + 128 * KiB);
  EXPECT_EQ(begin[64 * KiB - 1], 7);
  release_mapping(begin);
}

TEST_F(mapping_test, a_refused_size_leaves_everything_as_it_was) {
  constexpr std::size_t impossible = std::size_t{1} << 60;
  EXPECT_EQ(allocate_mapping(impossible, 16), nullptr);
  char* const begin = allocate_mapping(64 * KiB, 16);
  std::memset(begin, 7, 64 * KiB);
  EXPECT_EQ(resize_mapping(begin, impossible), nullptr);
  EXPECT_EQ(mapping_bytes(begin), 64 * KiB);
  EXPECT_EQ(begin[64 * KiB - 1], 7);
  release_mapping(begin);
}

TEST_F(mapping_test, agrees_with_a_model) {
  struct known {
    std::size_t bytes;
    void* attachment;
  };
  std::minstd_rand random(1);
  std::map<char*, known> live;
  for (int step = 0; step < 12'000; ++step) {
    const bool growing = step < 5000;
    const unsigned action = random() % 8;
    if (action < (growing ? 6u : 2u)) {
      const std::size_t bytes = os::page_bytes * (1 + random() % 3);
      char* const begin = allocate_mapping(bytes, 16);
      ASSERT_NE(begin, nullptr);
      ASSERT_TRUE(live.emplace(begin, known{bytes, nullptr}).second);
      begin[0] = static_cast<char>(step);
      begin[1] = static_cast<char>(step >> 8);
      live[begin].attachment = reinterpret_cast<void*>(static_cast<std::uintptr_t>(step + 1) << 8);
      attach_to_mapping(begin, live[begin].attachment);
    } else if (!live.empty()) {
      auto chosen = live.lower_bound(reinterpret_cast<char*>(
          reinterpret_cast<std::uintptr_t>(live.begin()->first) +
          random() % (1 + static_cast<std::size_t>(live.rbegin()->first - live.begin()->first))));
      if (chosen == live.end())
        chosen = live.begin();
      const auto [begin, what] = *chosen;
      ASSERT_EQ(mapping_bytes(begin), what.bytes);
      ASSERT_EQ(mapping_attachment(begin), what.attachment);
      const auto stamp = (reinterpret_cast<std::uintptr_t>(what.attachment) >> 8) - 1;
      ASSERT_EQ(begin[0], static_cast<char>(stamp));
      ASSERT_EQ(begin[1], static_cast<char>(stamp >> 8));
      live.erase(chosen);
      if (action == 7) {
        const std::size_t bytes = os::page_bytes * (1 + random() % 6);
        char* const moved = resize_mapping(begin, bytes);
        ASSERT_NE(moved, nullptr);
        live[moved] = {bytes, what.attachment};
      } else {
        ASSERT_EQ(release_mapping(begin), what.bytes);
      }
    }
    ASSERT_EQ(mappings_in_use().count, before.count + live.size());
    for (auto each = live.begin(); step % 1000 == 999 && each != live.end(); ++each)
      ASSERT_EQ(mapping_bytes(each->first), each->second.bytes) << "lost at step " << step;
  }
  for (const auto& each : live)
    ASSERT_NE(release_mapping(each.first), 0u);
}

TEST_F(mapping_test, threads_do_not_disturb_each_other) {
  const auto work = [](unsigned seed) {
    std::minstd_rand random(seed);
    std::vector<char*> live;
    for (int step = 0; step < 1500; ++step) {
      if (live.size() < 50 && random() % 2 == 0) {
        char* const begin = allocate_mapping(os::page_bytes, 16);
        ASSERT_NE(begin, nullptr);
        begin[0] = static_cast<char>(seed);
        live.push_back(begin);
      } else if (!live.empty()) {
        std::swap(live[random() % live.size()], live.back());
        char* const begin = resize_mapping(live.back(), os::page_bytes * (1 + random() % 4));
        ASSERT_EQ(begin[0], static_cast<char>(seed));
        ASSERT_NE(release_mapping(begin), 0u);
        live.pop_back();
      }
    }
    for (char* each : live)
      ASSERT_NE(release_mapping(each), 0u);
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed)
    threads.emplace_back(work, seed);
  for (std::thread& each : threads)
    each.join();
}

} // namespace
} // namespace mete::heap
