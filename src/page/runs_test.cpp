// The run allocator against a plain model: an array that says who has each granule.
//
// SPDX-License-Identifier: MIT
#include "page/runs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace mete::page {
namespace {

class runs_test : public ::testing::Test {
protected:
  void start(std::uint32_t granules) {
    entries.assign(granules + 1, run_entry{});
    bits.assign(granules / 64 + 2, 0);
    runs.initialise(entries.data(), bits.data(), granules);
    runs.insert({0, granules}, 0);
  }

  std::vector<run_entry> entries;
  std::vector<std::uint64_t> bits;
  run_allocator runs;
};

TEST_F(runs_test, fresh_runs_are_zeroed_and_reused_ones_are_not) {
  start(100);
  run_grant first{}, second{};
  ASSERT_TRUE(runs.allocate(10, 1, first));
  EXPECT_TRUE(first.zeroed);
  runs.release({first.first, 10}, 1);
  EXPECT_EQ(runs.dirty_granules(), 10u);
  ASSERT_TRUE(runs.allocate(10, 1, second));
  EXPECT_EQ(second.first, first.first) << "dirty memory is reused before fresh";
  EXPECT_FALSE(second.zeroed);
  EXPECT_EQ(runs.dirty_granules(), 0u);
}

TEST_F(runs_test, best_fit_takes_the_smallest_run_that_is_long_enough) {
  start(100);
  run_grant a{}, b{}, c{}, separator{};
  ASSERT_TRUE(runs.allocate(20, 1, a) && runs.allocate(1, 1, separator));
  ASSERT_TRUE(runs.allocate(7, 1, b) && runs.allocate(1, 1, separator));
  runs.release({a.first, 20}, 1);
  runs.release({b.first, 7}, 1);
  ASSERT_TRUE(runs.allocate(6, 1, c));
  EXPECT_EQ(c.first, b.first);
}

TEST_F(runs_test, alignment_is_kept_and_remainders_stay_usable) {
  start(64);
  run_grant one{}, aligned{}, rest{};
  ASSERT_TRUE(runs.allocate(1, 1, one));
  ASSERT_TRUE(runs.allocate(16, 16, aligned));
  EXPECT_EQ(aligned.first % 16, 0u);
  ASSERT_TRUE(runs.allocate(15, 1, rest));
  EXPECT_EQ(rest.first, 1u);
  EXPECT_FALSE(runs.allocate(48, 1, rest));
}

TEST_F(runs_test, alignment_is_by_address_where_the_range_begins_elsewhere) {
  for (std::size_t base : {std::size_t{0}, std::size_t{1}, std::size_t{37}, std::size_t{1} << 40}) {
    start(300);
    runs.initialise(entries.data(), bits.data(), 300, base);
    std::fill(entries.begin(), entries.end(), run_entry{});
    runs.insert({0, 300}, 0);
    for (std::uint32_t alignment = 1; alignment <= 64; alignment *= 2) {
      run_grant grant{};
      ASSERT_TRUE(runs.allocate(3, alignment, grant));
      EXPECT_EQ((base + grant.first) % alignment, 0u) << base;
    }
    runs.check_invariants(0, 300);
  }
}

TEST_F(runs_test, purging_makes_a_run_clean_again) {
  start(64);
  run_grant grant{};
  ASSERT_TRUE(runs.allocate(8, 1, grant));
  runs.release({grant.first, 8}, 10);
  span taken{};
  EXPECT_FALSE(runs.begin_purge(10, 1, 64, taken)) << "too young";
  ASSERT_TRUE(runs.begin_purge(10, 0, 64, taken));
  EXPECT_EQ(taken.count, 8u) << "the dirty part alone";
  runs.finish_purge(taken, true, 11);
  EXPECT_EQ(runs.dirty_granules(), 0u);
  EXPECT_FALSE(runs.begin_purge(1000, 0, 64, taken));
  ASSERT_TRUE(runs.allocate(8, 1, grant));
  EXPECT_TRUE(grant.zeroed);
}

// The clock has 32 bits of milliseconds. A run that nobody purged must not keep younger ones from
// being purged, nor stay for ever itself, however long ago it was freed.
TEST_F(runs_test, runs_of_any_age_are_purged_in_due_course) {
  constexpr std::uint32_t decay_ms = 300;
  for (const double days :
       {0.001, 1.0, 24.8, 24.9, 40.0, 49.7, 49.71, 49.8, 60.0, 74.6, 99.5, 1000.0})
    for (const std::uint32_t start_ms : {0u, 1u << 31, UINT32_MAX - 100}) {
      start(256);
      run_grant old{}, recent{}, separator{};
      ASSERT_TRUE(runs.allocate(8, 1, old) && runs.allocate(1, 1, separator));
      ASSERT_TRUE(runs.allocate(5, 1, recent) && runs.allocate(1, 1, separator));
      runs.release({old.first, 8}, start_ms);
      const auto now_ms =
          start_ms + static_cast<std::uint32_t>(static_cast<std::uint64_t>(days * 86'400'000));
      runs.release({recent.first, 5}, now_ms);
      span taken{};
      std::uint32_t purged = 0;
      while (runs.begin_purge(now_ms, decay_ms, 3, taken)) {
        purged += taken.count;
        runs.finish_purge(taken, true, now_ms);
      }
      EXPECT_EQ(purged, 8u) << days << " days: only the old one, in pieces";
      while (runs.begin_purge(now_ms + decay_ms, decay_ms, 3, taken))
        runs.finish_purge(taken, true, now_ms + decay_ms);
      EXPECT_EQ(runs.dirty_granules(), 0u) << days << " days";
      runs.check_invariants(0, 256);
    }
}

// The order of the list is that of the frees, also over the moments at which the clock wraps.
TEST_F(runs_test, the_order_of_age_survives_the_wrapping_of_the_clock) {
  start(4096);
  std::vector<run_grant> freed(30);
  run_grant separator{};
  for (run_grant& each : freed)
    ASSERT_TRUE(runs.allocate(4, 1, each) && runs.allocate(1, 1, separator));
  std::uint64_t now_ms = 0;
  for (const run_grant& each : freed) {
    runs.release({each.first, 4}, static_cast<std::uint32_t>(now_ms));
    now_ms += std::uint64_t{2} * 86'400'000 + 12345; // two months in all
  }
  for (const run_grant& each : freed) {
    span taken{};
    ASSERT_TRUE(runs.begin_purge_any(64, taken));
    EXPECT_EQ(taken.first, each.first);
    runs.finish_purge(taken, true, static_cast<std::uint32_t>(now_ms));
  }
}

TEST_F(runs_test, a_run_whose_purge_failed_stays_dirty) {
  start(64);
  run_grant grant{};
  ASSERT_TRUE(runs.allocate(8, 1, grant));
  runs.release({grant.first, 8}, 10);
  span taken{};
  ASSERT_TRUE(runs.begin_purge(10, 0, 64, taken));
  runs.finish_purge(taken, false, 11);
  EXPECT_EQ(runs.dirty_granules(), 8u);
}

TEST_F(runs_test, used_marks_only_the_beginnings_of_live_runs) {
  start(64);
  run_grant a{}, b{};
  ASSERT_TRUE(runs.allocate(4, 1, a) && runs.allocate(4, 1, b));
  runs.release({a.first, 4}, 1);
  runs.release({b.first, 4}, 1);
  ASSERT_TRUE(runs.allocate(8, 1, a));
  for (std::uint32_t granule = 0; granule < 64; ++granule)
    EXPECT_EQ(runs.entry(granule).state == run_state::used, granule == a.first) << granule;
}

TEST_F(runs_test, a_little_traffic_beside_it_does_not_keep_a_large_run_young) {
  start(1000);
  run_grant large{}, small{};
  ASSERT_TRUE(runs.allocate(500, 1, large));
  runs.release({large.first, 500}, 10);
  for (std::uint32_t now = 11; now < 100; ++now) {
    ASSERT_TRUE(runs.allocate(5, 1, small));
    runs.release({small.first, 5}, now);
  }
  span taken{};
  EXPECT_TRUE(runs.begin_purge(100, 50, 500, taken))
      << "495 of 500 granules have been idle since 10";
}

// Random operations; the model is who owns each granule and whether it is dirty while free.
TEST_F(runs_test, agrees_with_a_model) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    constexpr std::uint32_t granules = 1000;
    start(granules);
    std::minstd_rand engine(seed + 1);
    const auto random = [&engine] { return static_cast<std::uint32_t>(engine()); };
    std::vector<int> owner(granules, 0);
    std::vector<bool> dirty(granules, false);
    struct live_run {
      span where;
      int id;
    };
    std::vector<live_run> live;
    std::vector<live_run> purging;
    int next_id = 1;
    const auto fill = [&](span where, int id) {
      std::fill_n(owner.begin() + where.first, where.count, id);
    };
    for (std::uint32_t step = 0; step < 5000; ++step) {
      const unsigned action = random() % 10;
      if (action < 4) {
        const std::uint32_t count = 1 + random() % (random() % 8 == 0 ? 100 : 10);
        const std::uint32_t alignment = 1u << random() % 5;
        run_grant grant{};
        if (!runs.allocate(count, alignment, grant))
          continue;
        ASSERT_EQ(grant.first % alignment, 0u);
        bool any_dirty = false;
        for (std::uint32_t at = grant.first; at < grant.first + count; ++at) {
          ASSERT_EQ(owner[at], 0) << "handed out twice";
          any_dirty = any_dirty || dirty[at];
          dirty[at] = false;
        }
        ASSERT_EQ(grant.zeroed, !any_dirty);
        live.push_back({{grant.first, count}, next_id});
        fill(live.back().where, next_id++);
      } else if (action < 7 && !live.empty()) {
        std::swap(live[random() % live.size()], live.back());
        const span where = live.back().where;
        live.pop_back();
        runs.release(where, step);
        fill(where, 0);
        std::fill_n(dirty.begin() + where.first, where.count, true);
      } else if (action == 7 && !live.empty()) {
        live_run& run = live[random() % live.size()];
        bool zeroed = false;
        const std::uint32_t more = 1 + random() % 8;
        if (runs.extend(run.where.first, run.where.count, more, zeroed)) {
          for (std::uint32_t at = run.where.first + run.where.count;
               at < run.where.first + run.where.count + more; ++at) {
            ASSERT_EQ(owner[at], 0);
            owner[at] = run.id;
            dirty[at] = false;
          }
          run.where.count += more;
        }
      } else if (action == 8) {
        span taken{};
        if (runs.begin_purge(step, random() % 100, 1 + random() % 100, taken)) {
          purging.push_back({taken, -1});
          fill(taken, -1);
        }
      } else if (!purging.empty()) {
        const span where = purging.back().where;
        purging.pop_back();
        const bool done = random() % 4 != 0;
        runs.finish_purge(where, done, step);
        fill(where, 0);
        if (done)
          std::fill_n(dirty.begin() + where.first, where.count, false);
      }
      runs.check_invariants(0, granules);
      std::size_t free_granules = 0;
      for (std::uint32_t at = 0; at < granules; ++at)
        free_granules += owner[at] == 0;
      ASSERT_EQ(runs.free_granules(), free_granules);
    }
  }
}

} // namespace
} // namespace mete::page
