// SPDX-License-Identifier: MIT
#include "cli/condition.hpp"

#include "cli/command.hpp"
#include "cli/comparison_for_test.hpp"

#include <gtest/gtest.h>
#include <string>

namespace mete::cli {
namespace {

std::string error_of(const std::string& text) {
  try {
    const condition unused(text, {"glibc", "mete"}, false);
  } catch (const command_error& error) {
    EXPECT_EQ(error.status(), status_usage);
    return error.what();
  }
  return "";
}

bool holds(const std::string& text) {
  return condition(text, {"glibc", "mete"}, true).holds(make_workload());
}

TEST(condition_test, it_compares_products) {
  EXPECT_TRUE(holds("mete.time < glibc.time"));
  EXPECT_FALSE(holds("mete.time > 1.05 * glibc.time"));
  EXPECT_TRUE(holds("2.1 * mete.time>=glibc.time"));
  EXPECT_TRUE(holds("mete.memory <= 100"));
  EXPECT_FALSE(holds("mete.memory < 100"));
  EXPECT_TRUE(holds("mete.metric > glibc.metric * 1.5"));
}

TEST(condition_test, what_cannot_be_read_says_why) {
  EXPECT_NE(error_of("mete.speed > 1").find("'mete.speed'"), std::string::npos);
  EXPECT_NE(error_of("jemalloc.time > 1").find("'jemalloc' is not compared"), std::string::npos);
  EXPECT_NE(error_of("mete.time >").find("missing"), std::string::npos);
  EXPECT_NE(error_of("mete.time").find("missing"), std::string::npos);
  EXPECT_NE(error_of("").find("missing"), std::string::npos);
  EXPECT_NE(error_of("mete.time > 1 > 2").find("'> 2'"), std::string::npos);
  EXPECT_NE(error_of("mete.time + 1 > 2").find("'+ 1 > 2'"), std::string::npos);
}

TEST(condition_test, what_never_ran_is_no_silent_pass) {
  compared_workload all = make_workload();
  for (judged_run& each : all.candidates[1].runs)
    each.failure = "it crashed";
  EXPECT_THROW(condition("mete.time > 1", {"glibc", "mete"}, true).holds(all), command_error);
  EXPECT_THROW(condition("glibc.p99 > 1", {"glibc", "mete"}, true).holds(all), command_error);
}

} // namespace
} // namespace mete::cli
