// Medium objects against a model: sizes, contents, neighbours, alignment, resizing in place,
// attachments, and zeroes after a purge.
//
// SPDX-License-Identifier: MIT
#include "page/region.hpp"

#include "base/bits.hpp"
#include "block_pattern.hpp"
#include "os/memory.hpp"
#include "page/region_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <sys/mman.h>
#include <vector>

namespace mete::page {
namespace {

class medium_test : public testing::Test {
protected:
  medium_test() { os::initialise_memory(); }
  ~medium_test() override { check_region_invariants(); }

  static std::size_t rounded(std::size_t bytes) {
    return (bytes + os::page_bytes - 1) / os::page_bytes * os::page_bytes;
  }
  static bool is_zero(const char* begin, std::size_t bytes) {
    return std::all_of(begin, begin + bytes, [](char byte) { return byte == 0; });
  }
};

TEST_F(medium_test, sizes_are_whole_pages) {
  for (std::size_t bytes :
       {std::size_t{1}, os::page_bytes, os::page_bytes + 1, 200 * KiB, 1 * MiB}) {
    const grant block = allocate_pages(bytes, 1);
    ASSERT_NE(block.begin, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.begin) % os::page_bytes, 0u);
    EXPECT_EQ(medium_bytes(block.begin), rounded(bytes));
    EXPECT_EQ(locate(block.begin).tag->load(), tag_medium);
    EXPECT_TRUE(release_pages(block.begin));
  }
}

TEST_F(medium_test, alignment_is_kept) {
  std::vector<char*> live;
  for (std::size_t alignment = 1; alignment <= 16 * MiB; alignment *= 2)
    for (std::size_t bytes : {os::page_bytes, 3 * os::page_bytes, unit_bytes + os::page_bytes}) {
      const grant block = allocate_pages(bytes, alignment);
      ASSERT_NE(block.begin, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.begin) % alignment, 0u);
      live.push_back(block.begin);
    }
  for (char* each : live)
    EXPECT_TRUE(release_pages(each));
}

TEST_F(medium_test, only_the_beginning_of_a_live_object_is_one) {
  const grant block = allocate_pages(5 * os::page_bytes, 1);
  EXPECT_EQ(medium_bytes(block.begin + 16), 0u);
  EXPECT_EQ(medium_bytes(block.begin + os::page_bytes), 0u);
  EXPECT_EQ(medium_bytes(block.begin + 4 * os::page_bytes), 0u);
  EXPECT_FALSE(release_pages(block.begin + 16));
  EXPECT_FALSE(release_pages(block.begin + os::page_bytes));
  EXPECT_TRUE(release_pages(block.begin));
  EXPECT_FALSE(release_pages(block.begin)) << "a second time";
  EXPECT_EQ(medium_bytes(block.begin), 0u);
  int local = 0;
  EXPECT_EQ(medium_bytes(reinterpret_cast<char*>(&local)), 0u);
  EXPECT_FALSE(release_pages(reinterpret_cast<char*>(&local)));
}

TEST_F(medium_test, it_grows_and_shrinks_in_place) {
  const grant block = allocate_pages(6 * os::page_bytes, 1);
  EXPECT_TRUE(resize_pages(block.begin, 3 * os::page_bytes));
  EXPECT_EQ(medium_bytes(block.begin), 3 * os::page_bytes);
  EXPECT_TRUE(resize_pages(block.begin, 5 * os::page_bytes - 1));
  EXPECT_EQ(medium_bytes(block.begin), 5 * os::page_bytes);
  EXPECT_TRUE(resize_pages(block.begin, 5 * os::page_bytes));
  EXPECT_TRUE(release_pages(block.begin));
}

// Behind it lie pages that are free, then units that are: all of them can be had.
TEST_F(medium_test, it_grows_into_free_units_and_beyond_the_frontier) {
  const grant block = allocate_pages(3 * unit_bytes, 8 * MiB);
  std::fill_n(block.begin, 3 * unit_bytes, '\1');
  // Whatever else this process has made: at its end is nothing.
  std::size_t bytes = 3 * unit_bytes;
  for (; bytes < 6 * MiB; bytes += 5 * os::page_bytes)
    if (!resize_pages(block.begin, bytes + 5 * os::page_bytes))
      break;
  EXPECT_GE(bytes, 6 * MiB);
  EXPECT_EQ(medium_bytes(block.begin), bytes);
  EXPECT_TRUE(is_zero(block.begin + 3 * unit_bytes, 64 * KiB) || dirty_bytes() != 0);
  for (std::size_t at = 0; at < bytes; at += unit_bytes)
    EXPECT_EQ(locate(block.begin + at).tag->load(), tag_medium);
  EXPECT_TRUE(
      std::all_of(block.begin, block.begin + 3 * unit_bytes, [](char c) { return c == 1; }));
  EXPECT_TRUE(resize_pages(block.begin, os::page_bytes));
  check_region_invariants();
  EXPECT_TRUE(release_pages(block.begin));
}

TEST_F(medium_test, a_large_run_grows_into_units_that_are_free_pages) {
  purge_runs_above(0);
  const grant run = allocate_units(3, tag_large, nullptr, 8 * MiB);
  const grant pages = allocate_pages(40 * unit_bytes, 1);
  std::fill_n(pages.begin, 40 * unit_bytes, '\1');
  const bool behind = pages.begin == run.begin + 3 * unit_bytes;
  EXPECT_EQ(resize_large_run(run.begin, 20 * unit_bytes), !behind) << "in use";
  EXPECT_TRUE(resize_large_run(run.begin, 3 * unit_bytes));
  EXPECT_TRUE(release_pages(pages.begin));
  EXPECT_TRUE(resize_large_run(run.begin, 30 * unit_bytes));
  EXPECT_EQ(large_run_bytes(run.begin), 30 * unit_bytes);
  EXPECT_EQ(locate(run.begin + 29 * unit_bytes).tag->load(), tag_none);
  check_region_invariants();
  EXPECT_TRUE(release_large_run(run.begin));
}

TEST_F(medium_test, what_was_moved_away_is_free_and_clean) {
  purge_runs_above(0);
  const grant pages = allocate_pages(5 * unit_bytes, unit_bytes);
  const grant run = allocate_units(5, tag_large, nullptr);
  std::fill_n(pages.begin, 5 * unit_bytes, '\1');
  std::fill_n(run.begin, 5 * unit_bytes, '\2');
  char* const moved[] = {os::move_out(pages.begin, 5 * unit_bytes, 5 * unit_bytes),
                         os::move_out(run.begin, 5 * unit_bytes, 9 * MiB)};
  if (moved[0] == nullptr)
    GTEST_SKIP() << "this kernel does not move pages";
  EXPECT_TRUE(is_zero(pages.begin, 5 * unit_bytes) && is_zero(run.begin, 5 * unit_bytes));
  EXPECT_EQ(std::count(moved[0], moved[0] + 5 * unit_bytes, '\1'), 5 * unit_bytes);
  EXPECT_EQ(std::count(moved[1], moved[1] + 5 * unit_bytes, '\2'), 5 * unit_bytes);
  EXPECT_TRUE(is_zero(moved[1] + 5 * unit_bytes, 9 * MiB - 5 * unit_bytes));
  const std::size_t dirty = dirty_bytes();
  release_empty_pages(pages.begin);
  release_empty_large_run(run.begin);
  EXPECT_EQ(dirty_bytes(), dirty);
  EXPECT_EQ(medium_bytes(pages.begin), 0u);
  EXPECT_FALSE(release_large_run(run.begin));
  check_region_invariants();
  EXPECT_TRUE(os::release(moved[0], 5 * unit_bytes) && os::release(moved[1], 9 * MiB));
}

TEST_F(medium_test, an_attachment_stays_with_its_object) {
  const grant block = allocate_pages(3 * os::page_bytes, 1);
  EXPECT_EQ(medium_attachment(block.begin), nullptr);
  int keeper = 0;
  attach_to_medium(block.begin, &keeper);
  const grant neighbour = allocate_pages(3 * os::page_bytes, 1);
  EXPECT_EQ(medium_attachment(neighbour.begin), nullptr);
  EXPECT_TRUE(release_pages(neighbour.begin));
  EXPECT_TRUE(resize_pages(block.begin, os::page_bytes));
  EXPECT_EQ(medium_attachment(block.begin), &keeper);
  EXPECT_TRUE(release_pages(block.begin));
  const grant next = allocate_pages(os::page_bytes, 1);
  EXPECT_EQ(medium_attachment(next.begin), nullptr);
  EXPECT_TRUE(release_pages(next.begin));
}

TEST_F(medium_test, purged_pages_are_zero_and_said_to_be) {
  const grant block = allocate_pages(16 * os::page_bytes, 1);
  std::fill_n(block.begin, 16 * os::page_bytes, '\1');
  EXPECT_TRUE(release_pages(block.begin));
  purge_runs_above(0);
  EXPECT_EQ(dirty_bytes(), 0u);
  const grant again = allocate_pages(16 * os::page_bytes, 1);
  EXPECT_TRUE(again.zeroed);
  EXPECT_TRUE(is_zero(again.begin, 16 * os::page_bytes));
  EXPECT_TRUE(release_pages(again.begin));
}

// What lies free among the pages serves the unit level before fresh memory does.
TEST_F(medium_test, whole_units_go_back_when_they_are_wanted) {
  purge_runs_above(0);
  const grant block = allocate_pages(6 * unit_bytes, unit_bytes);
  std::fill_n(block.begin, 6 * unit_bytes, '\1');
  EXPECT_TRUE(release_pages(block.begin));
  const std::size_t dirty = dirty_bytes();
  EXPECT_GE(dirty, 6 * unit_bytes);
  const grant units = allocate_units(5, tag_large, nullptr);
  EXPECT_FALSE(units.zeroed);
  EXPECT_GE(units.begin, block.begin);
  EXPECT_LE(units.begin + 5 * unit_bytes, block.begin + 6 * unit_bytes);
  EXPECT_EQ(dirty_bytes(), dirty - 5 * unit_bytes);
  EXPECT_TRUE(release_large_run(units.begin));
}

TEST_F(medium_test, whole_units_go_back_when_they_are_purged) {
  const grant block = allocate_pages(6 * unit_bytes, unit_bytes);
  std::fill_n(block.begin, 6 * unit_bytes, '\1');
  EXPECT_TRUE(release_pages(block.begin));
  purge_runs_above(0);
  EXPECT_EQ(dirty_bytes(), 0u);
  EXPECT_EQ(locate(block.begin + unit_bytes).tag->load(), tag_none);
}

// However small the pieces, and wherever their edges: no unit is left behind.
TEST_F(medium_test, whole_units_go_back_when_they_are_purged_in_pieces) {
  for (const std::size_t budget : {36 * KiB, 44 * KiB, 60 * KiB, 100 * KiB, 300 * KiB}) {
    const grant block = allocate_pages(12 * unit_bytes, unit_bytes);
    std::fill_n(block.begin, 12 * unit_bytes, '\1');
    EXPECT_TRUE(release_pages(block.begin));
    while (purge_runs_above(0, budget) != 0) {
    }
    EXPECT_EQ(dirty_bytes(), 0u);
    for (std::size_t unit = 0; unit < 12; ++unit)
      EXPECT_EQ(locate(block.begin + unit * unit_bytes).tag->load(), tag_none)
          << unit << ", " << budget;
  }
}

// Units that are not divided into pages any more need no entries for their pages.
TEST_F(medium_test, the_memory_of_entries_goes_back_with_the_units) {
  if (os::page_bytes != 4 * KiB)
    GTEST_SKIP() << "one page holds the entries of all these units";
  constexpr std::size_t units = 400;
  const grant first = allocate_pages(units * unit_bytes, unit_bytes);
  region& where = *find_region(first.begin);
  EXPECT_TRUE(release_pages(first.begin));
  std::vector<grant> small; // so that entries all over the table are written
  for (std::size_t count = 0; count < units; ++count)
    small.push_back(allocate_pages(unit_bytes, unit_bytes));
  for (const grant& each : small)
    EXPECT_TRUE(release_pages(each.begin));
  char* const entries = reinterpret_cast<char*>(&where.pages.entry(where.page_of(first.begin)));
  char* const begin = align_up(entries, os::page_bytes);
  const std::size_t bytes =
      align_down(units * pages_per_unit() * sizeof(run_entry), os::page_bytes) - os::page_bytes;
  const auto resident = [&] {
    std::vector<unsigned char> present(bytes / os::page_bytes);
    EXPECT_EQ(::mincore(begin, bytes, present.data()), 0);
    return std::count_if(present.begin(), present.end(), [](auto page) { return (page & 1) != 0; });
  };
  const auto before = resident();
  while (purge_runs_above(0, 300 * KiB) != 0) {
  }
  EXPECT_LE(resident(), before / 4);
  const grant again = allocate_pages(units * unit_bytes, unit_bytes); // they serve as before
  EXPECT_NE(again.begin, nullptr);
  EXPECT_TRUE(release_pages(again.begin));
}

// Random operations; the model is the set of live objects, each full of a pattern of its own.
TEST_F(medium_test, agrees_with_a_model) {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    std::minstd_rand random(seed);
    std::map<char*, std::size_t> live;
    std::uint64_t serial = seed;
    const auto fill = [&](char* begin, std::size_t bytes) {
      test::pattern({reinterpret_cast<unsigned char*>(begin), 0, serial})
          .fill(reinterpret_cast<unsigned char*>(begin), bytes);
    };
    const auto intact = [&](char* begin, std::size_t bytes) {
      auto* const address = reinterpret_cast<unsigned char*>(begin);
      return test::pattern({address, 0, serial}).first_difference(address, bytes) == bytes;
    };
    const auto any = [&] {
      return std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
    };
    const auto wanted_bytes = [&] {
      return 1 + random() % (random() % 6 == 0 ? 1 * MiB : 20 * os::page_bytes);
    };
    for (int step = 0; step < 1200; ++step) {
      const unsigned action = random() % 16;
      if (action < 6 && live.size() < 60) {
        const std::size_t bytes = wanted_bytes();
        const std::size_t alignment = std::size_t{1}
                                      << random() % (random() % 8 == 0 ? 24 : unit_shift + 1);
        const grant block = allocate_pages(bytes, alignment);
        ASSERT_NE(block.begin, nullptr);
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block.begin) % alignment, 0u);
        if (block.zeroed) {
          ASSERT_TRUE(is_zero(block.begin, rounded(bytes)));
        }
        const auto [place, added] = live.emplace(block.begin, rounded(bytes));
        ASSERT_TRUE(added);
        if (const auto next = std::next(place); next != live.end()) {
          ASSERT_LE(block.begin + rounded(bytes), next->first) << "overlaps";
        }
        if (place != live.begin()) {
          ASSERT_LE(std::prev(place)->first + std::prev(place)->second, block.begin) << "overlaps";
        }
        fill(block.begin, rounded(bytes));
      } else if (action < 11 && !live.empty()) {
        const auto freed = any();
        ASSERT_TRUE(intact(freed->first, freed->second));
        ASSERT_TRUE(release_pages(freed->first));
        live.erase(freed);
      } else if (action < 15 && !live.empty()) {
        const auto resized = any();
        const std::size_t bytes = wanted_bytes();
        const bool done = resize_pages(resized->first, bytes);
        ASSERT_TRUE(done || rounded(bytes) > resized->second) << "shrinking cannot fail";
        ASSERT_TRUE(intact(resized->first, std::min(resized->second, rounded(bytes))));
        if (done) {
          resized->second = rounded(bytes);
          fill(resized->first, resized->second);
        }
      } else if (action == 15) {
        purge_runs_above(random() % 2 == 0 ? 0 : 512 * KiB);
      }
      for (const auto& [begin, bytes] : live)
        ASSERT_EQ(medium_bytes(begin), bytes);
      check_region_invariants();
    }
    for (const auto& [begin, bytes] : live) {
      ASSERT_TRUE(intact(begin, bytes));
      ASSERT_TRUE(release_pages(begin));
    }
  }
}

} // namespace
} // namespace mete::page
