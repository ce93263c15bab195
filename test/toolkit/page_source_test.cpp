// SPDX-License-Identifier: MIT
#include <mete/page_source.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>

#include <mete/arena.hpp>

#include "support/sources.hpp"

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

// How many bytes of it hold memory.
std::size_t resident_bytes(std::span<const std::byte> memory) {
  const std::size_t page = mete::detail::page_bytes();
  std::vector<unsigned char> pages(memory.size() / page);
  if (mincore(const_cast<std::byte*>(memory.data()), memory.size(), pages.data()) != 0)
    return 0;
  std::size_t bytes = 0;
  for (const unsigned char each : pages)
    bytes += (each & 1) != 0 ? page : 0;
  return bytes;
}

TEST(page_source, random_use) {
  for (const auto huge : {mete::huge_pages::off, mete::huge_pages::transparent}) {
    mete::page_source pages({.huge = huge});
    mete::test::exercise_source(pages, {.max_bytes = 300'000, .max_alignment = mib});
  }
}

TEST(page_source, random_use_of_a_reservation) {
  for (const auto huge : {mete::huge_pages::off, mete::huge_pages::transparent}) {
    mete::page_source pages({.huge = huge, .reserve = 16 * mib});
    mete::test::exercise_source(pages, {.max_bytes = 300'000, .max_alignment = mib});
    const auto all = pages.acquire(16 * mib);
    EXPECT_EQ(all.size(), 16 * mib) << "what came back is in one piece again";
    EXPECT_EQ(all.data(), pages.reservation().data());
    EXPECT_TRUE(pages.acquire(1).empty());
    pages.release(all);
  }
}

TEST(page_source, random_use_of_reserved_huge_pages_or_of_what_takes_their_place) {
  mete::page_source anywhere({.huge = mete::huge_pages::reserved});
  mete::test::exercise_source(anywhere, {.max_bytes = 3 * mib, .operations = 100, .live_limit = 4});
  mete::page_source reservation({.huge = mete::huge_pages::reserved, .reserve = 32 * mib});
  mete::test::exercise_source(reservation,
                              {.max_bytes = 3 * mib, .operations = 100, .live_limit = 4});
}

TEST(page_source, huge_pages_that_are_not_there_leave_a_note) {
  std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  if (int free = 0; file >> free && free > 0)
    GTEST_SKIP() << "the administrator has reserved some";
  for (const std::size_t reserve : {std::size_t{0}, 8 * mib}) {
    mete::page_source pages({.huge = mete::huge_pages::reserved, .reserve = reserve});
    EXPECT_EQ(pages.usage().note, nullptr);
    const auto block = pages.acquire(mib);
    ASSERT_EQ(block.size(), 2 * mib);
    ASSERT_NE(pages.usage().note, nullptr);
    const std::string note = pages.usage().note;
    EXPECT_TRUE(note == "page_source: transparent huge pages instead of reserved ones" ||
                note == "page_source: no huge pages")
        << note;
    std::memset(block.data(), 1, block.size());
    pages.release(block);
  }
}

TEST(page_source, blocks_begin_at_huge_pages_where_these_fit) {
  for (const std::size_t reserve : {std::size_t{0}, 64 * mib}) {
    mete::page_source pages({.huge = mete::huge_pages::transparent, .reserve = reserve});
    const auto small = pages.acquire(5000);
    const auto large = pages.acquire(5 * mib);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.data()) % (2 * mib), 0u);
    EXPECT_EQ(small.size(), 2 * mete::detail::page_bytes());
    pages.release(large);
    pages.release(small);
  }
}

TEST(page_source, a_node_that_there_is_none_of_leaves_a_note) {
  for (const int node : {1023, 5000, -2}) {
    mete::page_source pages({.numa = node});
    const auto block = pages.acquire(mib);
    ASSERT_FALSE(block.empty());
    std::memset(block.data(), 1, block.size());
    EXPECT_STREQ(pages.usage().note, "page_source: the NUMA node could not be chosen") << node;
    pages.release(block);
  }
}

TEST(page_source, the_first_node_exists) {
  mete::page_source pages({.numa = 0, .reserve = 4 * mib});
  const auto block = pages.acquire(mib);
  std::memset(block.data(), 1, block.size());
  if (pages.usage().note != nullptr)
    std::printf("mbind is refused here: %s\n", pages.usage().note); // by a sandbox, mostly
  pages.release(block);
}

TEST(page_source, impossible_requests) {
  mete::page_source pages;
  mete::test::expect_impossible_acquisitions_fail(pages);
  EXPECT_TRUE(pages.acquire(SIZE_MAX / 2).empty());
  EXPECT_TRUE(pages.acquire(16, SIZE_MAX / 2 + 1).empty());
  mete::page_source reserved({.reserve = mib});
  mete::test::expect_impossible_acquisitions_fail(reserved);
  EXPECT_TRUE(reserved.acquire(SIZE_MAX / 2).empty());
  EXPECT_TRUE(reserved.acquire(16, SIZE_MAX / 2 + 1).empty());
}

TEST(page_source, an_impossible_reservation_gives_nothing) {
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX / 2, std::size_t{1} << 60}) {
    mete::page_source pages({.reserve = bytes});
    EXPECT_TRUE(pages.acquire(1).empty());
    EXPECT_STREQ(pages.usage().note, "page_source: the address space could not be reserved");
    EXPECT_TRUE(pages.reservation().empty());
  }
}

TEST(page_source, a_reservation_is_contiguous_and_holds_memory_only_where_it_is_in_use) {
  mete::page_source pages({.reserve = 8 * mib});
  EXPECT_EQ(resident_bytes(pages.reservation()), 0u);
  const auto first = pages.acquire(mib);
  const auto second = pages.acquire(mib);
  EXPECT_EQ(first.data() + first.size(), second.data());
  std::memset(first.data(), 1, first.size());
  std::memset(second.data(), 1, second.size());
  EXPECT_EQ(resident_bytes(pages.reservation()), 2 * mib);
  pages.release(first);
  EXPECT_EQ(resident_bytes(pages.reservation()), mib);
  const auto again = pages.acquire(mib);
  EXPECT_EQ(again.data(), first.data());
  EXPECT_EQ(again.front(), std::byte{0}) << "it went back to the system meanwhile";
  pages.release(again);
  pages.release(second);
  EXPECT_EQ(resident_bytes(pages.reservation()), 0u);
}

TEST(page_source, what_comes_back_goes_back_at_once) {
  mete::page_source pages;
  const auto block = pages.acquire(mib);
  std::memset(block.data(), 1, block.size());
  EXPECT_EQ(resident_bytes(block), mib);
  pages.release(block);
  EXPECT_EQ(resident_bytes(block), 0u);
}

TEST(page_source, many_threads) {
  for (const std::size_t reserve : {std::size_t{0}, 8 * mib}) {
    mete::page_source pages({.reserve = reserve});
    std::vector<std::thread> threads;
    for (int which = 0; which < 4; ++which)
      threads.emplace_back([&pages, which] {
        for (std::size_t round = 0; round < 300; ++round) {
          const auto block = pages.acquire(4096 * (1 + round % 7), round % 3 == 0 ? 65536 : 16);
          ASSERT_FALSE(block.empty());
          std::memset(block.data(), which, block.size());
          EXPECT_EQ(block.back(), static_cast<std::byte>(which));
          pages.release(block);
        }
      });
    for (std::thread& each : threads)
      each.join();
    EXPECT_EQ(pages.usage().acquired_bytes, 0u);
  }
}

TEST(page_source, an_arena_grows_in_it) {
  mete::page_source pages({.reserve = 64 * mib});
  mete::arena arena({.upstream = &pages});
  for (int count = 0; count < 10'000; ++count)
    ASSERT_NE(arena.try_allocate(1000), nullptr);
  arena.reset(0);
  EXPECT_EQ(pages.usage().acquired_bytes, 0u);
  EXPECT_EQ(arena.try_allocate(64 * mib), nullptr) << "the reservation is the limit";
}

TEST(page_source_death_test, memory_that_went_back_is_not_to_be_touched) {
  mete::page_source pages({.reserve = mib});
  const auto block = pages.acquire(4096);
  pages.release(block);
  EXPECT_DEATH(*const_cast<volatile std::byte*>(block.data()) = std::byte{1}, "");
}

TEST(page_source_death_test, a_block_that_came_back_already) {
  mete::page_source pages({.reserve = mib});
  const auto block = pages.acquire(4096);
  pages.release(block);
  EXPECT_DEATH(pages.release(block), "it, or a part of it, is free");
}

TEST(page_source_death_test, a_block_of_somebody_else) {
  mete::page_source pages({.reserve = mib});
  mete::page_source other;
  const auto block = other.acquire(4096);
  EXPECT_DEATH(pages.release(block), "it is not of this reservation");
  EXPECT_DEATH(other.release(block.subspan(1)), "it is no block of pages");
  other.release(block);
}

// ---- range_table, on addresses that nobody has ------------------------------------------------

TEST(range_table, fills_its_room_and_no_more) {
  constexpr std::size_t granules = 64;
  std::array<mete::detail::range_table::range, mete::detail::range_table::ranges_for(granules)>
      room;
  mete::detail::range_table table(room);
  table.insert(1000, granules);
  for (std::size_t at = 0; at < granules; ++at)
    EXPECT_EQ(table.take(1, 1), 1000 + at);
  EXPECT_EQ(table.take(1, 1), 0u);
  for (std::size_t at = 0; at < granules; at += 2)
    table.insert(1000 + at, 1);
  EXPECT_EQ(table.free_bytes(), granules / 2);
  EXPECT_EQ(table.take(2, 1), 0u);
  EXPECT_TRUE(table.overlaps(1001, 2));
  EXPECT_FALSE(table.overlaps(1001, 1));
  for (std::size_t at = 1; at < granules; at += 2)
    table.insert(1000 + at, 1);
  EXPECT_EQ(table.take(granules, 1), 1000u) << "all joined";
}

TEST(range_table, alignment_leaves_what_lies_before) {
  std::array<mete::detail::range_table::range, 10> room;
  mete::detail::range_table table(room);
  table.insert(40, 100);
  EXPECT_EQ(table.take(10, 64), 64u);
  EXPECT_EQ(table.take(24, 8), 40u);
  EXPECT_EQ(table.free_bytes(), 66u);
  EXPECT_EQ(table.take(1, SIZE_MAX / 2 + 1), 0u);
}

} // namespace
