// SPDX-License-Identifier: MIT
#include "base/check.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <climits>
#include <string>
#include <unistd.h>

namespace mete {
namespace {

template <class Value>
std::string text_of(Value value) {
  message line{message::empty_tag{}};
  line << value;
  return line.text();
}

TEST(message_test, numbers_and_addresses_are_written_as_expected) {
  EXPECT_EQ(text_of(0), "0");
  EXPECT_EQ(text_of(-1), "-1");
  EXPECT_EQ(text_of(4096u), "4096");
  EXPECT_EQ(text_of(SIZE_MAX), "18446744073709551615");
  EXPECT_EQ(text_of(LLONG_MAX), "9223372036854775807");
  EXPECT_EQ(text_of(LLONG_MIN), "-9223372036854775808");
  EXPECT_EQ(text_of(static_cast<const void*>(nullptr)), "0x0");
  EXPECT_EQ(text_of(reinterpret_cast<const void*>(0xfedcba9876543210u)), "0xfedcba9876543210");
}

TEST(message_test, a_line_begins_with_the_name_of_the_library) {
  message line;
  line << "it is " << 3 << " o'clock";
  EXPECT_STREQ(line.text(), "mete: it is 3 o'clock");
  EXPECT_EQ(line.length(), std::string("mete: it is 3 o'clock").size());
}

TEST(message_test, what_does_not_fit_is_cut) {
  message line{message::empty_tag{}};
  std::string expected;
  for (int number = 0; number < 1000; ++number) {
    line << number << " ";
    expected += std::to_string(number) + " ";
  }
  EXPECT_EQ(line.length(), 511u);
  EXPECT_EQ(std::string(line.text()), expected.substr(0, 511));
}

TEST(message_test, printing_adds_a_newline_and_keeps_errno) {
  message line;
  for (int part = 0; part < 200; ++part)
    line << "long ";
  const std::string expected = std::string(line.text()) + "\n";
  testing::internal::CaptureStderr();
  errno = ERANGE;
  line.print();
  const int seen = errno;
  EXPECT_EQ(testing::internal::GetCapturedStderr(), expected);
  EXPECT_EQ(seen, ERANGE);
}

TEST(message_test, printing_where_nobody_listens_keeps_errno_and_ends) {
  const int saved = ::dup(STDERR_FILENO);
  ASSERT_GE(saved, 0);
  ::close(STDERR_FILENO);
  errno = ERANGE;
  message().print();
  const int seen = errno;
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  EXPECT_EQ(seen, ERANGE);
}

using check_death_test = testing::Test;

TEST_F(check_death_test, a_failed_check_names_itself_and_aborts) {
  METE_CHECK(1 + 1 == 2);
  EXPECT_EXIT(METE_CHECK(1 + 1 == 3), testing::KilledBySignal(SIGABRT),
              "mete: internal check failed: 1 \\+ 1 == 3 at .*check_test.cpp:[0-9]+;");
}

TEST_F(check_death_test, a_debug_check_costs_nothing_where_it_is_off) {
#if defined(METE_DEBUG_CHECKS)
  EXPECT_DEATH(METE_DEBUG_CHECK(1 + 1 == 3), "internal check failed");
#else
  int evaluated = 0;
  METE_DEBUG_CHECK(++evaluated == 0);
  EXPECT_EQ(evaluated, 0);
#endif
}

TEST_F(check_death_test, misuse_says_what_where_and_what_is_known) {
  const auto* const address = reinterpret_cast<const void*>(0x1230);
  EXPECT_EXIT(misuse("double free", address, "it is free already"),
              testing::KilledBySignal(SIGABRT),
              "^mete: double free of 0x1230: it is free already \\(see docs/debugging.md\\)\n$");
}

} // namespace
} // namespace mete
