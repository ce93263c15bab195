// SPDX-License-Identifier: MIT
#include "cli/suite.hpp"

#include "cli/command.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace mete::cli {
namespace {

std::string error_of(const std::string& text) {
  try {
    parse_suite(text, "a.toml");
  } catch (const command_error& error) {
    EXPECT_EQ(error.status(), status_usage);
    return error.what();
  }
  return "no error";
}

TEST(suite_test, all_keys_are_read) {
  const suite all = parse_suite(R"(
title = "Two"
allocators = ["glibc", "mete"]
runs = 7
warmup = 0
timeout = 1.5
environment = { A = "1" }
fail-if = "mete.time > glibc.time"
[[workload]]
name = "server"
program = ["serve", "--port", "7000"]
setup = "make data"
client = "ask"
check = "sha256sum"
ready-port = 7000
metric = 'p99 (\d+)'
lower-is-better = true
timeout = 20
environment = { B = "2" }
[[workload]]
name = "job"
program = ["job"]
input = "data"
scratch = true
directory = "there"
ready-line = "go"
means = []
)",
                                "folder/a.toml");
  EXPECT_EQ(all.title, "Two");
  EXPECT_EQ(all.allocators, (std::vector<std::string>{"glibc", "mete"}));
  EXPECT_EQ(all.runs, 7u);
  EXPECT_EQ(all.warmup, 0u);
  EXPECT_EQ(all.fail_if, "mete.time > glibc.time");
  ASSERT_EQ(all.workloads.size(), 2u);
  const workload& server = all.workloads[0];
  EXPECT_EQ(server.name, "server");
  EXPECT_EQ(server.program, (std::vector<std::string>{"serve", "--port", "7000"}));
  EXPECT_EQ(server.setup, "make data");
  EXPECT_EQ(server.client, "ask");
  EXPECT_EQ(server.check, "sha256sum");
  EXPECT_EQ(server.ready_port, 7000);
  EXPECT_EQ(server.metric, "p99 (\\d+)");
  EXPECT_TRUE(server.lower_metric_is_better);
  EXPECT_EQ(server.timeout.count(), 20000);
  ASSERT_EQ(server.environment.size(), 2u);
  EXPECT_EQ(server.environment[1].second, "2");
  const workload& job = all.workloads[1];
  EXPECT_EQ(job.input, "data");
  EXPECT_TRUE(job.scratch);
  EXPECT_EQ(job.directory, "there");
  EXPECT_EQ(job.ready_line, "go");
  EXPECT_EQ(job.timeout.count(), 1500);
  EXPECT_EQ(server.means.size(), 2u);
  EXPECT_TRUE(job.means.empty());
}

TEST(suite_test, candidates_are_arguments) {
  const suite all = parse_suite(R"(
[[candidate]]
name = "malloc"
arguments = ["--with", "malloc"]
[[candidate]]
name = "boost::pool"
arguments = ["--with", "boost_pool"]
allocator = "mete"
package = "libboost-dev"
[[candidate]]
name = "as it is"
arguments = []
[[workload]]
name = "small"
program = ["small"]
allocators = ["boost::pool"]
)",
                                "a.toml");
  ASSERT_EQ(all.candidates.size(), 3u);
  EXPECT_EQ(all.candidates[0].allocator, "glibc");
  EXPECT_EQ(all.candidates[1].name, "boost::pool");
  EXPECT_EQ(all.candidates[1].arguments, (std::vector<std::string>{"--with", "boost_pool"}));
  EXPECT_EQ(all.candidates[1].allocator, "mete");
  EXPECT_EQ(all.candidates[1].package, "libboost-dev");
  EXPECT_TRUE(all.candidates[2].arguments.empty());
  EXPECT_EQ(all.workloads[0].allocators, (std::vector<std::string>{"boost::pool"}));
}

TEST(suite_test, it_is_named_after_its_file) {
  EXPECT_EQ(parse_suite("[[workload]]\nname = 'a'\nprogram = ['b']", "x/night.toml").title,
            "night");
}

TEST(suite_test, errors_name_line_and_column) {
  EXPECT_EQ(error_of("runs = 0").substr(0, 18), "a.toml:1:8: 'runs'");
  EXPECT_NE(error_of("\nruns =").find("a.toml:2:7: "), std::string::npos) << error_of("\nruns =");
  EXPECT_NE(error_of("title = 'x'\n colour = 1").find("a.toml:2:2: there is no key 'colour'"),
            std::string::npos);
  EXPECT_NE(error_of("[[workload]]\nname = 'a'\nprogram = 'ls -l'").find("a.toml:3:11: 'program'"),
            std::string::npos);
}

TEST(suite_test, each_mistake_is_told) {
  const std::string job = "[[workload]]\nname = 'a'\nprogram = ['b']\n";
  EXPECT_NE(error_of("").find("no [[workload]]"), std::string::npos);
  EXPECT_NE(error_of("workload = 1").find("[[workload]]"), std::string::npos);
  EXPECT_NE(error_of("[[workload]]\nprogram = ['b']").find("'name' is missing"), std::string::npos);
  EXPECT_NE(error_of("[[workload]]\nname = 'b'").find("'program' is missing"), std::string::npos);
  EXPECT_NE(error_of(job + job).find("second workload is called 'a'"), std::string::npos);
  EXPECT_NE(error_of(job + "program = ['x']").find("a.toml:4:"), std::string::npos);
  EXPECT_NE(error_of(job + "timeout = -1").find("above 0"), std::string::npos);
  EXPECT_NE(error_of(job + "ready-port = 70000").find("from 1 to 65535"), std::string::npos);
  EXPECT_NE(error_of(job + "means = ['speed']").find("'speed'"), std::string::npos);
  EXPECT_NE(error_of(job + "scratch = 'yes'").find("true or false"), std::string::npos);
  EXPECT_NE(error_of(job + "environment = { A = 1 }").find("a.toml:4:21:"), std::string::npos);
  EXPECT_NE(error_of(job + "environment = 1").find("{ NAME = "), std::string::npos);
  EXPECT_NE(error_of("allocators = []\n" + job).find("array of texts"), std::string::npos);
  const std::string pool = "[[candidate]]\nname = 'pool'\narguments = ['x']\n";
  EXPECT_NE(error_of(pool + pool + job).find("second candidate is called 'pool'"),
            std::string::npos);
  EXPECT_NE(error_of("[[candidate]]\nname = 'c'\n" + job).find("'arguments' is missing"),
            std::string::npos);
  EXPECT_NE(error_of(pool + job + "allocators = ['pond']").find("'pond'"), std::string::npos);
  EXPECT_EQ(error_of(pool + job + "allocators = ['pool']"), "no error");
  EXPECT_EQ(error_of(job), "no error");
}

} // namespace
} // namespace mete::cli
