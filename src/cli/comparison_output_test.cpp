// SPDX-License-Identifier: MIT
#include "cli/comparison_output.hpp"

#include "cli/comparison_for_test.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <sstream>
#include <string>

namespace mete::cli {
namespace {

TEST(comparison_output_test, the_table_is_narrow_and_says_what_is_clear) {
  const std::string table = table_of(make_workload(), false);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(line.size(), 100u) << line;
  EXPECT_NE(table.find("0.51*"), table.npos) << table;
  EXPECT_NE(table.find("1.00 "), table.npos) << table;
  EXPECT_EQ(table.find('\033'), table.npos);
  EXPECT_NE(table_of(make_workload(), true).find("\033[32m 0.51*\033[0m"), table.npos);
}

TEST(comparison_output_test, a_candidate_that_fails_is_a_row_that_says_so) {
  compared_workload all = make_workload();
  for (judged_run& each : all.candidates[1].runs)
    each.failure = "killed by signal 11";
  const std::string table = table_of(all, false);
  EXPECT_NE(
      table.find("mete              failed\n  5 of 5 runs failed; the first: killed by signal "
                 "11\n"),
      table.npos)
      << table;
}

TEST(comparison_output_test, files_hold_every_run) {
  comparison all = make_comparison();
  EXPECT_NE(json_of(all).find("\"verdict\": \"lower\""), std::string::npos);
  all.workloads[0].candidates[1].runs[0].failure = "said \"no\", and left";
  const std::string csv = csv_of(all);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 11);
  EXPECT_NE(csv.find("job,mete,0.1.0,1,\"said \"\"no\"\", and left\",1.01,"), csv.npos) << csv;
  const std::string json = json_of(all);
  EXPECT_NE(json.find("\"a \\\"fast\\\" one\""), json.npos);
  EXPECT_NE(json.find("\"verdict\": \"too few runs\""), json.npos) << "four are left";
}

TEST(comparison_output_test, many_metrics_are_a_line_each) {
  compared_workload all = make_workload();
  for (compared_candidate& candidate : all.candidates)
    for (judged_run& each : candidate.runs)
      each.metrics.emplace_back("p99", 10 * each.run.wall_seconds);
  for (int copy = 0; copy < 6; ++copy) {
    all.candidates.push_back(all.candidates[1]);
    all.candidates.back().what.name = "other";
  }
  const std::string table = table_of(all, false);
  EXPECT_NE(table.find("\np99                 20.3             10.3  0.51* "), table.npos) << table;
  EXPECT_NE(table.find("\nmetric             49.26            97.09  1.97* "), table.npos) << table;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(line.size(), 100u) << line;
}

} // namespace
} // namespace mete::cli
