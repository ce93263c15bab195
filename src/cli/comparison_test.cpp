// SPDX-License-Identifier: MIT
#include "cli/comparison.hpp"

#include "cli/comparison_for_test.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace mete::cli {
namespace {

TEST(comparison_test, figures_are_those_of_the_runs_that_count) {
  compared_workload all = make_workload();
  all.candidates[1].runs.push_back(make_run(6, 50, 9000, "it crashed"));
  EXPECT_EQ(values_of(all.candidates[1], measured_figure("time")),
            (std::vector<double>{1.01, 1.02, 1.03, 1.04, 1.05}));
}

TEST(comparison_test, a_ratio_needs_both_in_a_round) {
  compared_workload all = make_workload();
  for (judged_run& each : all.candidates[0].runs)
    each.failure = each.round == 2 ? "" : "it crashed";
  const auto ratio = ratio_to_first(all, 1, measured_figure("time"));
  ASSERT_TRUE(ratio);
  EXPECT_NEAR(ratio->ratio, 1.02 / 2.02, 1e-9);
  EXPECT_EQ(ratio->meaning, verdict::too_few_runs);
  all.candidates[0].runs[1].failure = "it crashed, too";
  EXPECT_FALSE(ratio_to_first(all, 1, measured_figure("time")));
  EXPECT_FALSE(ratio_to_first(all, 0, measured_figure("time")));
}

TEST(comparison_test, means_are_geometric_and_of_what_there_is) {
  comparison all = make_comparison();
  all.workloads.push_back(make_workload());
  for (judged_run& each : all.workloads[1].candidates[1].runs)
    each.run.peak_bytes *= 4;
  ASSERT_EQ(means_of(all).size(), 1u);
  EXPECT_NEAR(means_of(all)[0].memory.value(), 2, 1e-9); // of 1 and 4
  EXPECT_EQ(means_of(all)[0].workloads, 2u);
  for (judged_run& each : all.workloads[1].candidates[1].runs)
    each.failure = "it crashed";
  EXPECT_NEAR(means_of(all)[0].memory.value(), 1, 1e-9);
  EXPECT_EQ(means_of(all)[0].workloads, 1u);
  all.workloads[0].what.means = {"time"};
  EXPECT_FALSE(means_of(all)[0].memory);
  EXPECT_TRUE(means_of(all)[0].time);
}

TEST(comparison_test, the_verdict_on_two_names_what_differs) {
  compared_workload all = make_workload();
  EXPECT_EQ(verdict_of(all), "mete against glibc: 0.51 of the time, no significant difference in "
                             "peak memory.");
  all.candidates[1].runs[0].failure = "it crashed";
  EXPECT_EQ(verdict_of(all),
            "Too few runs for a verdict (it takes 5). mete failed in 1 of 5 runs.");
}

TEST(comparison_test, the_verdict_on_many_names_the_best) {
  compared_workload all = make_workload();
  all.candidates.push_back(all.candidates[1]);
  all.candidates[2].what.name = "other";
  for (judged_run& each : all.candidates[2].runs) {
    each.run.wall_seconds *= 0.5;
    each.run.peak_bytes *= 2;
  }
  EXPECT_EQ(verdict_of(all),
            "In time other is fastest, at 0.25 of glibc's time; in peak memory none is smaller "
            "than glibc by a significant difference.");
  for (judged_run& each : all.candidates[1].runs)
    each.run.peak_bytes *= 2;
  EXPECT_NE(verdict_of(all).find("in peak memory glibc is smallest."), std::string::npos);
}

TEST(comparison_test, the_verdict_on_a_suite_is_of_the_means) {
  comparison all = make_comparison();
  all.workloads.push_back(make_workload());
  EXPECT_EQ(verdict_of(all), "Over 2 workloads, against glibc (geometric means): mete takes 0.51 "
                             "of the time and 1.00 of the peak memory.");
}

TEST(comparison_test, one_allocator_is_no_comparison) {
  compared_workload all = make_workload();
  all.candidates.pop_back();
  EXPECT_EQ(verdict_of(all), "One allocator only, so there is nothing to compare.");
}

} // namespace
} // namespace mete::cli
