// Units: tags, descriptors, contents, large runs, purging, regions that come and go. The first
// region is the process's own, so tests look at what they took themselves.
//
// SPDX-License-Identifier: MIT
#include "page/region.hpp"

#include "base/options.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace mete::page {
namespace {

constexpr std::uint32_t some_tag = 77u << tag_owner_shift | 16;

bool holds_only(const char* begin, std::size_t bytes, char value) {
  return std::all_of(begin, begin + bytes, [value](char byte) { return byte == value; });
}

class region_test : public testing::Test {
protected:
  region_test() { os::initialise_memory(); }
  ~region_test() override { check_region_invariants(); }

  static std::uint32_t tag_at(const char* address) {
    return locate(address).tag->load(std::memory_order_relaxed);
  }
};

TEST_F(region_test, every_unit_of_a_run_says_what_it_is) {
  int descriptor = 0;
  const grant run = allocate_units(3, some_tag, &descriptor);
  ASSERT_NE(run.begin, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(run.begin) % unit_bytes, 0u);
  for (std::size_t offset :
       {std::size_t{0}, std::size_t{1}, unit_bytes - 1, unit_bytes, 3 * unit_bytes - 1}) {
    const location where = locate(run.begin + offset);
    ASSERT_NE(where.tag, nullptr);
    EXPECT_EQ(where.tag->load(), some_tag);
    EXPECT_EQ(where.descriptor->load(), &descriptor);
    EXPECT_EQ(where.unit_begin, run.begin + offset / unit_bytes * unit_bytes);
  }
  retag_units(run.begin, 3, tag_none, nullptr);
  EXPECT_EQ(tag_at(run.begin + 2 * unit_bytes), tag_none);
  release_units(run.begin, 3);
}

TEST_F(region_test, the_fast_path_finds_the_same_tags) {
  const grant run = allocate_units(1, some_tag, nullptr);
  std::uintptr_t unit = 0;
  if (primary.find(run.begin, unit)) {
    EXPECT_EQ(&primary.tags[unit], locate(run.begin).tag);
  }
  EXPECT_EQ(primary.base() % huge_page_bytes, 0u);
  release_units(run.begin, 1);
}

TEST_F(region_test, foreign_addresses_are_in_no_region) {
  int local = 0;
  EXPECT_EQ(locate(&local).tag, nullptr);
  EXPECT_EQ(locate(nullptr).tag, nullptr);
  EXPECT_EQ(locate(reinterpret_cast<const void*>(UINTPTR_MAX)).tag, nullptr);
}

TEST_F(region_test, fresh_units_are_zero_and_used_ones_say_that_they_are_not) {
  const grant run = allocate_units(5, some_tag, nullptr);
  if (run.zeroed) {
    EXPECT_TRUE(holds_only(run.begin, 5 * unit_bytes, 0));
  }
  std::memset(run.begin, 1, 5 * unit_bytes);
  const std::size_t dirty_before = dirty_bytes();
  release_units(run.begin, 5);
  EXPECT_EQ(dirty_bytes(), dirty_before + 5 * unit_bytes);
  EXPECT_EQ(tag_at(run.begin), tag_none);
  const grant again = allocate_units(5, some_tag, nullptr);
  EXPECT_FALSE(again.zeroed) << "dirty memory is reused first";
  release_units(again.begin, 5);
}

TEST_F(region_test, purging_spares_the_young_and_leaves_zeroes) {
  purge_runs_above(0);
  EXPECT_EQ(dirty_bytes(), 0u);
  const grant run = allocate_units(4, some_tag, nullptr);
  std::memset(run.begin, 1, 4 * unit_bytes);
  release_units(run.begin, 4);
  EXPECT_EQ(purge_runs_idle_for(60'000, SIZE_MAX), 0u);
  EXPECT_EQ(dirty_bytes(), 4 * unit_bytes);
  EXPECT_EQ(purge_runs_idle_for(0, SIZE_MAX), 4 * unit_bytes);
  EXPECT_EQ(dirty_bytes(), 0u);
  EXPECT_TRUE(holds_only(run.begin, 4 * unit_bytes, 0));
}

TEST_F(region_test, purging_stops_at_its_limit) {
  purge_runs_above(0);
  grant runs[6];
  for (grant& each : runs)
    each = allocate_units(2, some_tag, nullptr);
  for (int index : {0, 2, 4}) // so that they don't coalesce
    release_units(runs[index].begin, 2);
  EXPECT_EQ(dirty_bytes(), 6 * unit_bytes);
  EXPECT_EQ(purge_runs_above(4 * unit_bytes), 2 * unit_bytes);
  EXPECT_EQ(dirty_bytes(), 4 * unit_bytes);
  for (int index : {1, 3, 5})
    release_units(runs[index].begin, 2);
}

TEST_F(region_test, large_runs_are_resized_in_place_with_their_contents) {
  const grant run = allocate_units(8, tag_large, nullptr);
  EXPECT_EQ(tag_at(run.begin), tag_large);
  EXPECT_EQ(tag_at(run.begin + unit_bytes), tag_none);
  EXPECT_EQ(large_run_bytes(run.begin), 8 * unit_bytes);
  std::memset(run.begin, 5, 8 * unit_bytes);
  ASSERT_TRUE(resize_large_run(run.begin, 3 * unit_bytes - 100));
  EXPECT_EQ(large_run_bytes(run.begin), 3 * unit_bytes);
  EXPECT_EQ(tag_at(run.begin + 2 * unit_bytes), tag_none);
  EXPECT_EQ(tag_at(run.begin + 3 * unit_bytes), tag_none);
  ASSERT_TRUE(resize_large_run(run.begin, 7 * unit_bytes));
  EXPECT_EQ(large_run_bytes(run.begin), 7 * unit_bytes);
  EXPECT_EQ(tag_at(run.begin + 6 * unit_bytes), tag_none);
  EXPECT_TRUE(holds_only(run.begin, 3 * unit_bytes, 5));
  EXPECT_TRUE(release_large_run(run.begin));
}

TEST_F(region_test, runs_of_units_are_aligned_by_address) {
  std::vector<char*> live;
  for (int round = 0; round < 3; ++round)
    for (std::size_t alignment = unit_bytes; alignment <= 64 * MiB; alignment *= 2)
      for (const std::size_t units : {std::size_t{1}, std::size_t{5}, std::size_t{40}}) {
        const grant run = allocate_units(units, tag_large, nullptr, alignment);
        ASSERT_NE(run.begin, nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(run.begin) % alignment, 0u);
        EXPECT_EQ(large_run_bytes(run.begin), units * unit_bytes);
        live.push_back(run.begin);
      }
  check_region_invariants();
  for (char* each : live)
    EXPECT_TRUE(release_large_run(each));
  EXPECT_EQ(allocate_units(1, tag_large, nullptr, std::size_t{1} << 50).begin, nullptr);
}

TEST_F(region_test, a_large_run_does_not_grow_into_its_neighbour) {
  std::set<char*> live;
  char* first = nullptr;
  while (first == nullptr) { // until two lie side by side
    char* const begin = allocate_units(2, tag_large, nullptr).begin;
    ASSERT_LT(live.size(), 1000u);
    live.insert(begin);
    first = live.contains(begin - 2 * unit_bytes)   ? begin - 2 * unit_bytes
            : live.contains(begin + 2 * unit_bytes) ? begin
                                                    : nullptr;
  }
  EXPECT_FALSE(resize_large_run(first, 3 * unit_bytes));
  EXPECT_EQ(large_run_bytes(first), 2 * unit_bytes);
  EXPECT_EQ(tag_at(first + 2 * unit_bytes), tag_large);
  for (char* each : live)
    EXPECT_TRUE(release_large_run(each));
}

TEST_F(region_test, only_the_beginning_of_a_live_large_run_can_be_released) {
  const grant run = allocate_units(2, tag_large, nullptr);
  EXPECT_FALSE(release_large_run(run.begin + 16));
  EXPECT_FALSE(release_large_run(run.begin + unit_bytes));
  EXPECT_TRUE(release_large_run(run.begin));
  EXPECT_FALSE(release_large_run(run.begin)) << "a second time";
}

TEST_F(region_test, what_is_too_large_is_refused) {
  EXPECT_EQ(allocate_units(std::size_t{1} << 40, some_tag, nullptr).begin, nullptr);
  EXPECT_EQ(allocate_units(SIZE_MAX >> unit_shift, some_tag, nullptr).begin, nullptr);
}

TEST_F(region_test, threads_get_different_units_while_others_purge) {
  const auto work = [](char seed) {
    std::minstd_rand random(static_cast<unsigned>(seed));
    std::vector<std::pair<char*, std::size_t>> live;
    for (int step = 0; step < 800; ++step) {
      if (live.size() < 12 && random() % 2 == 0) {
        const std::size_t units = 1 + random() % 4;
        const grant run = allocate_units(units, tag_large, nullptr);
        ASSERT_NE(run.begin, nullptr);
        if (run.zeroed) {
          ASSERT_TRUE(holds_only(run.begin, units * unit_bytes, 0));
        }
        for (std::size_t at = 0; at < units * unit_bytes; at += 1024)
          run.begin[at] = seed;
        live.emplace_back(run.begin, units);
      } else if (!live.empty()) {
        const auto [begin, units] = live.back();
        live.pop_back();
        for (std::size_t at = 0; at < units * unit_bytes; at += 1024)
          ASSERT_EQ(begin[at], seed);
        ASSERT_TRUE(release_large_run(begin));
      }
    }
    for (const auto& each : live)
      ASSERT_TRUE(release_large_run(each.first));
  };
  std::vector<std::thread> threads;
  for (char seed = 1; seed <= 3; ++seed)
    threads.emplace_back(work, seed);
  for (int round = 0; round < 50; ++round) {
    purge_runs_above(0);
    std::this_thread::yield();
  }
  for (std::thread& each : threads)
    each.join();
}

// What was committed for a peak is reserved only, once it is free and clean; and back, as zeroes.
TEST_F(region_test, the_frontier_moves_back_and_forth) {
  for (int round = 0; round < 4; ++round) {
    const grant run = allocate_units(2000, tag_large, nullptr);
    ASSERT_NE(run.begin, nullptr);
    for (std::size_t unit = 0; unit < 2000; ++unit)
      run.begin[unit * unit_bytes + 5] = 1;
    const grant pages = allocate_pages(900 * KiB, 1);
    const std::size_t committed = regions_in_use().committed_bytes;
    EXPECT_TRUE(release_pages(pages.begin));
    EXPECT_TRUE(release_large_run(run.begin));
    EXPECT_EQ(regions_in_use().committed_bytes, committed) << "not while it is dirty";
    purge_runs_above(0);
    EXPECT_LT(regions_in_use().committed_bytes, committed - 90 * MiB);
    EXPECT_EQ(locate(run.begin + 1999 * unit_bytes).tag, nullptr);
    check_region_invariants();
    const grant again = allocate_units(1000, tag_large, nullptr);
    EXPECT_TRUE(again.zeroed);
    EXPECT_TRUE(holds_only(again.begin, 1000 * unit_bytes, 0));
    check_region_invariants();
    EXPECT_TRUE(release_large_run(again.begin));
  }
}

// --- Several regions: in a process of its own, whose first region is small.

#define REQUIRE(condition)                                                                         \
  if (!(condition)) {                                                                              \
    std::fprintf(stderr, "line %d: not true: %s\n", __LINE__, #condition);                         \
    std::_Exit(1);                                                                                 \
  }

[[noreturn]] void use_several_regions() {
  os::initialise_memory();
  options.region_bytes.store(4 * static_cast<long long>(MiB));
  const grant in_first = allocate_units(32, some_tag, nullptr);
  REQUIRE(in_first.begin != nullptr && regions_in_use().regions == 1);
  const grant in_second = allocate_units(40, some_tag, nullptr);
  REQUIRE(in_second.begin != nullptr && regions_in_use().regions == 2);
  const grant in_third = allocate_units(100, some_tag, nullptr);
  REQUIRE(in_third.begin != nullptr && regions_in_use().regions == 3);
  std::memset(in_third.begin, 1, 100 * unit_bytes);
  REQUIRE(locate(in_second.begin).tag->load() == some_tag);
  REQUIRE(locate(in_third.begin + 100 * unit_bytes - 1).tag->load() == some_tag);
  const std::size_t reserved = regions_in_use().reserved_bytes;

  REQUIRE(release_empty_regions() == 0);
  release_units(in_second.begin, 40);
#if defined(METE_FAULT_INJECTION)
  // What cannot be unmapped stays a region, whose memory is used again.
  options.fail_os_call.store(static_cast<long long>(os::counted_calls()) + 1);
  options.fail_os_calls.store(1);
  REQUIRE(release_empty_regions() == 0);
  options.fail_os_call.store(0);
  REQUIRE(regions_in_use().regions == 3 && regions_in_use().reserved_bytes == reserved);
  REQUIRE(allocate_units(40, some_tag, nullptr).begin == in_second.begin);
  release_units(in_second.begin, 40);
  check_region_invariants();
#endif
  REQUIRE(release_empty_regions() > 4 * MiB);
  REQUIRE(locate(in_second.begin).tag == nullptr);
  REQUIRE(regions_in_use().regions == 2);
  REQUIRE(regions_in_use().reserved_bytes == reserved - 4 * MiB);
  REQUIRE(holds_only(in_third.begin, 100 * unit_bytes, 1));

  const grant in_its_place = allocate_units(40, some_tag, nullptr);
  REQUIRE(in_its_place.begin != nullptr && regions_in_use().regions == 3);
  REQUIRE(holds_only(in_its_place.begin, 40 * unit_bytes, 0));
  release_units(in_first.begin, 32);
  REQUIRE(release_empty_regions() == 0); // the first stays: free() knows it
  check_region_invariants();
  std::_Exit(0);
}

using region_process_test = testing::Test;

TEST_F(region_process_test, regions_are_added_when_full_and_given_back_when_empty) {
  testing::FLAGS_gtest_death_test_style = "threadsafe"; // a process that has no region yet
  EXPECT_EXIT(use_several_regions(), testing::ExitedWithCode(0), "");
}

} // namespace
} // namespace mete::page
