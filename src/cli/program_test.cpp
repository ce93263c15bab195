// The first line of scripts, and what env(1) would run. Whole chains are in run_test.py.
//
// SPDX-License-Identifier: MIT
#include "cli/program.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

void expect_line(const std::string& start, const std::string& interpreter,
                 const std::string& argument) {
  const script_line line = parse_script_line(start);
  EXPECT_EQ(line.interpreter, interpreter) << start;
  EXPECT_EQ(line.argument, argument) << start;
}

TEST(parse_script_line, as_the_kernel_reads_it) {
  expect_line("#!/bin/sh\necho", "/bin/sh", "");
  expect_line("#! \t/bin/sh  -e  \necho", "/bin/sh", "-e");
  expect_line("#!/usr/bin/env python3 -u\n", "/usr/bin/env", "python3 -u");
  expect_line("#!/bin/sh", "/bin/sh", "");
}

TEST(parse_script_line, survives_lines_without_sense) {
  expect_line("#!", "", "");
  expect_line("#!\n", "", "");
  expect_line("#!   ", "", "");
  expect_line(std::string("#!/bin/s\0h -e\n", 14), "/bin/s", "");
}

TEST(parse_env_call, skips_options_and_assignments) {
  EXPECT_EQ(parse_env_call({"python3", "x.py"}).program, (words{"python3", "x.py"}));
  EXPECT_EQ(parse_env_call({"A=1", "B=", "python3"}).program, (words{"python3"}));
  EXPECT_EQ(parse_env_call({"-v", "--", "A=1", "python3", "-i"}).program, (words{"python3", "-i"}));
  EXPECT_FALSE(parse_env_call({"A=1", "python3"}).drops_preload);
}

TEST(parse_env_call, splits_the_string_of_S) {
  EXPECT_EQ(parse_env_call({"-S python3 -u", "x.py"}).program, (words{"python3", "-u", "x.py"}));
  EXPECT_EQ(parse_env_call({"-S", "A=1 'my program' a\\ b", "x"}).program,
            (words{"my program", "a b", "x"}));
  EXPECT_EQ(parse_env_call({"-S-S perl", "x"}).program, (words{"perl", "x"}));
}

TEST(parse_env_call, sees_that_the_library_is_dropped) {
  EXPECT_TRUE(parse_env_call({"-i", "A=1", "ls"}).drops_preload);
  EXPECT_TRUE(parse_env_call({"-", "ls"}).drops_preload);
  EXPECT_TRUE(parse_env_call({"-u", "LD_PRELOAD", "ls"}).drops_preload);
  EXPECT_TRUE(parse_env_call({"LD_PRELOAD=", "ls"}).drops_preload);
  EXPECT_FALSE(parse_env_call({"-u", "HOME", "ls"}).drops_preload);
  EXPECT_FALSE(parse_env_call({"ls", "-i", "LD_PRELOAD="}).drops_preload);
}

TEST(parse_env_call, leaves_what_only_env_can_tell) {
  EXPECT_TRUE(parse_env_call({}).program.empty());
  EXPECT_TRUE(parse_env_call({"A=1"}).program.empty());
  EXPECT_TRUE(parse_env_call({"-C", "/tmp", "./ls"}).program.empty());
  EXPECT_TRUE(parse_env_call({"PATH=/x", "ls"}).program.empty());
  EXPECT_TRUE(parse_env_call({"-u"}).program.empty());
  EXPECT_TRUE(parse_env_call({"-S"}).program.empty());
  EXPECT_TRUE(parse_env_call({"-S${SHELL} -c", "ls"}).program.empty());
  EXPECT_TRUE(parse_env_call({"-Sls\\tx"}).program.empty());
}

} // namespace
} // namespace mete::cli
