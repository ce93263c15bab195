// SPDX-License-Identifier: MIT
#include "cli/comparison.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

namespace mete::cli {
namespace {

judged_run make_run(std::size_t round, double seconds, std::size_t mib, std::string failure = "") {
  judged_run each;
  each.round = round;
  each.run.wall_seconds = seconds;
  each.run.user_seconds = seconds * 0.75;
  each.run.system_seconds = seconds * 0.25;
  each.run.peak_bytes = mib << 20;
  each.run.page_faults = 1234;
  each.metric = 100 / seconds;
  each.failure = std::move(failure);
  return each;
}

comparison make_comparison() {
  comparison all;
  all.program = {"job", "an, argument"};
  all.metric = "rate ([0-9.]+)";
  all.machine = {{"CPU", "a \"fast\" one"}};
  all.candidates = {{{"glibc", "", "2.36"}, {}}, {{"mete", "/opt/libmete.so", "0.1.0"}, {}}};
  for (std::size_t round = 1; round <= 5; ++round) {
    const double drift = 0.01 * static_cast<double>(round);
    all.candidates[0].runs.push_back(make_run(round, 2 + drift, 100));
    all.candidates[1].runs.push_back(make_run(round, 1 + drift, 100));
  }
  return all;
}

std::string error_of(const std::string& text) {
  try {
    const condition unused(text, {"glibc", "mete"});
  } catch (const command_error& error) {
    EXPECT_EQ(error.status(), status_usage);
    return error.what();
  }
  return "";
}

bool holds(const std::string& text) {
  return condition(text, {"glibc", "mete"}).holds(make_comparison());
}

TEST(comparison_test, figures_are_those_of_the_runs_that_count) {
  comparison all = make_comparison();
  all.candidates[1].runs.push_back(make_run(6, 50, 9000, "it crashed"));
  EXPECT_EQ(values_of(all.candidates[1], figures()[0]),
            (std::vector<double>{1.01, 1.02, 1.03, 1.04, 1.05}));
}

TEST(comparison_test, a_ratio_needs_both_in_a_round) {
  comparison all = make_comparison();
  for (judged_run& each : all.candidates[0].runs)
    each.failure = each.round == 2 ? "" : "it crashed";
  const auto ratio = ratio_to_first(all, 1, figures()[0]);
  ASSERT_TRUE(ratio);
  EXPECT_NEAR(ratio->ratio, 1.02 / 2.02, 1e-9);
  EXPECT_EQ(ratio->meaning, verdict::too_few_runs);
  all.candidates[0].runs[1].failure = "it crashed, too";
  EXPECT_FALSE(ratio_to_first(all, 1, figures()[0]));
  EXPECT_FALSE(ratio_to_first(all, 0, figures()[0]));
}

TEST(comparison_test, the_table_is_narrow_and_says_what_is_clear) {
  const std::string table = table_of(make_comparison(), false);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(line.size(), 100u) << line;
  EXPECT_NE(table.find("0.51*"), table.npos) << table;
  EXPECT_NE(table.find("1.00 "), table.npos) << table;
  EXPECT_EQ(table.find('\033'), table.npos);
  EXPECT_NE(table_of(make_comparison(), true).find("\033[32m 0.51*\033[0m"), table.npos);
}

TEST(comparison_test, a_candidate_that_fails_is_a_row_that_says_so) {
  comparison all = make_comparison();
  for (judged_run& each : all.candidates[1].runs)
    each.failure = "killed by signal 11";
  const std::string table = table_of(all, false);
  EXPECT_NE(
      table.find("mete              failed\n  5 of 5 runs failed; the first: killed by signal "
                 "11\n"),
      table.npos)
      << table;
}

TEST(comparison_test, files_hold_every_run) {
  comparison all = make_comparison();
  EXPECT_NE(json_of(all).find("\"verdict\": \"lower\""), std::string::npos);
  all.candidates[1].runs[0].failure = "said \"no\", and left";
  const std::string csv = csv_of(all);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 11);
  EXPECT_NE(csv.find("mete,0.1.0,1,\"said \"\"no\"\", and left\",1.01,"), csv.npos) << csv;
  const std::string json = json_of(all);
  EXPECT_NE(json.find("\"a \\\"fast\\\" one\""), json.npos);
  EXPECT_NE(json.find("\"verdict\": \"too few runs\""), json.npos) << "four are left";
}

TEST(comparison_test, conditions_compare_products) {
  EXPECT_TRUE(holds("mete.time < glibc.time"));
  EXPECT_FALSE(holds("mete.time > 1.05 * glibc.time"));
  EXPECT_TRUE(holds("2.1 * mete.time>=glibc.time"));
  EXPECT_TRUE(holds("mete.memory <= 100"));
  EXPECT_FALSE(holds("mete.memory < 100"));
  EXPECT_TRUE(holds("mete.metric > glibc.metric * 1.5"));
}

TEST(comparison_test, a_condition_that_cannot_be_read_says_why) {
  EXPECT_NE(error_of("mete.speed > 1").find("'mete.speed'"), std::string::npos);
  EXPECT_NE(error_of("jemalloc.time > 1").find("'jemalloc' is not compared"), std::string::npos);
  EXPECT_NE(error_of("mete.time >").find("missing"), std::string::npos);
  EXPECT_NE(error_of("mete.time").find("missing"), std::string::npos);
  EXPECT_NE(error_of("").find("missing"), std::string::npos);
  EXPECT_NE(error_of("mete.time > 1 > 2").find("'> 2'"), std::string::npos);
  EXPECT_NE(error_of("mete.time + 1 > 2").find("'+ 1 > 2'"), std::string::npos);
}

TEST(comparison_test, a_condition_on_what_never_ran_is_no_silent_pass) {
  comparison all = make_comparison();
  for (judged_run& each : all.candidates[1].runs)
    each.failure = "it crashed";
  EXPECT_THROW(condition("mete.time > 1", {"glibc", "mete"}).holds(all), command_error);
}

} // namespace
} // namespace mete::cli
