// SPDX-License-Identifier: MIT
#include "cli/estimate.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace mete::cli {
namespace {

TEST(estimate_test, a_summary_is_median_and_extremes) {
  const summary odd = summarise(std::vector<double>{5, 1, 3});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.low, 1);
  EXPECT_EQ(odd.high, 5);
  EXPECT_EQ(summarise(std::vector<double>{4, 1, 3, 10}).median, 3.5);
  EXPECT_EQ(summarise(std::vector<double>{7}).median, 7);
}

TEST(estimate_test, a_clear_difference_is_one) {
  const std::vector<double> reference{10, 11, 10.5, 10.2, 10.8};
  const ratio_estimate half = estimate_ratio(std::vector<double>{5, 5.4, 5.2, 5.1, 5.5}, reference);
  EXPECT_NEAR(half.ratio, 0.495, 0.01);
  EXPECT_EQ(half.meaning, verdict::lower);
  EXPECT_LE(half.low, half.ratio);
  EXPECT_GE(half.high, half.ratio);
  EXPECT_EQ(estimate_ratio(reference, std::vector<double>{5, 5.4, 5.2, 5.1, 5.5}).meaning,
            verdict::higher);
}

TEST(estimate_test, the_same_is_no_difference) {
  const std::vector<double> values{1, 2, 3, 4, 5};
  const ratio_estimate same = estimate_ratio(values, values);
  EXPECT_EQ(same.ratio, 1);
  EXPECT_EQ(same.meaning, verdict::no_difference);
}

TEST(estimate_test, what_disturbs_a_whole_round_does_not_hide_a_difference) {
  const std::vector<double> reference{10, 20, 40, 10, 20, 40, 10};
  std::vector<double> values;
  for (const double each : reference)
    values.push_back(each * 0.9);
  EXPECT_EQ(estimate_ratio(values, reference).meaning, verdict::lower);
}

TEST(estimate_test, two_runs_decide_nothing) {
  const ratio_estimate two = estimate_ratio(std::vector<double>{1, 1}, std::vector<double>{9, 9});
  EXPECT_EQ(two.meaning, verdict::too_few_runs);
}

TEST(estimate_test, the_result_can_be_repeated) {
  const std::vector<double> a{3, 1, 4, 1, 5}, b{2, 7, 1, 8, 2};
  EXPECT_EQ(estimate_ratio(a, b).low, estimate_ratio(a, b).low);
  EXPECT_EQ(estimate_ratio(a, b).high, estimate_ratio(a, b).high);
}

// Two series of the same distribution are told apart about once in twenty times.
class noise_test : public testing::TestWithParam<std::size_t> {};

TEST_P(noise_test, is_rarely_taken_for_a_difference) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(100, 5);
  int mistaken = 0;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> a(GetParam()), b(GetParam());
    for (std::size_t at = 0; at < a.size(); ++at) {
      a[at] = noise(random);
      b[at] = noise(random);
    }
    mistaken += estimate_ratio(a, b).meaning != verdict::no_difference;
  }
  EXPECT_LE(mistaken, 20);
}

INSTANTIATE_TEST_SUITE_P(rounds, noise_test, testing::Values(5, 10, 20));

} // namespace
} // namespace mete::cli
