// Where the options of mete end and the program begins.
//
// SPDX-License-Identifier: MIT
#include "cli/command.hpp"

#include <CLI/App.hpp>
#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

split_arguments split(const words& arguments) {
  CLI::App parser;
  std::string value;
  bool flag = false;
  parser.add_option("-l,--library", value);
  parser.add_flag("-v,--verbose", flag);
  return split_at_program(parser, arguments);
}

void expect_split(const words& arguments, const words& own, const words& program) {
  const split_arguments found = split(arguments);
  EXPECT_EQ(found.own, own);
  EXPECT_EQ(found.program, program);
}

TEST(split_at_program, marker_ends_the_options_and_is_dropped_once) {
  expect_split({"-v", "--", "ls", "--", "-l"}, {"-v"}, {"ls", "--", "-l"});
}

TEST(split_at_program, without_marker_the_first_plain_word_is_the_program) {
  expect_split({"-v", "ls", "-l", "--library"}, {"-v"}, {"ls", "-l", "--library"});
}

TEST(split_at_program, value_of_an_option_is_not_the_program) {
  expect_split({"--library", "x.so", "ls"}, {"--library", "x.so"}, {"ls"});
  expect_split({"-l", "x.so", "ls"}, {"-l", "x.so"}, {"ls"});
  expect_split({"-vl", "x.so", "ls"}, {"-vl", "x.so"}, {"ls"});
}

TEST(split_at_program, value_inside_the_argument_takes_no_other) {
  expect_split({"--library=x.so", "ls"}, {"--library=x.so"}, {"ls"});
  expect_split({"-lx.so", "ls"}, {"-lx.so"}, {"ls"});
  expect_split({"-lv", "ls"}, {"-lv"}, {"ls"});
}

TEST(split_at_program, a_marker_can_be_a_value) {
  expect_split({"-l", "--", "ls"}, {"-l", "--"}, {"ls"});
}

TEST(split_at_program, nothing_left_is_no_program) {
  expect_split({}, {}, {});
  expect_split({"-v"}, {"-v"}, {});
  expect_split({"-v", "--"}, {"-v"}, {});
  expect_split({"--library"}, {"--library"}, {});
}

TEST(split_at_program, unknown_option_stays_with_the_options) {
  expect_split({"--no-such", "ls"}, {"--no-such"}, {"ls"});
}

} // namespace
} // namespace mete::cli
