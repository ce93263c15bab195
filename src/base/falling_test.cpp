// SPDX-License-Identifier: MIT
#include "base/falling.hpp"

#include <gtest/gtest.h>

namespace mete {
namespace {

constexpr std::size_t small = falling_amount::small_change_bytes;

TEST(falling_test, what_rises_does_not_fall) {
  falling_amount amount;
  for (std::size_t now = 0; now < 100 * MiB; now += MiB)
    EXPECT_FALSE(amount.note(now, 0));
}

TEST(falling_test, what_wavers_does_not_fall) {
  falling_amount amount;
  for (int round = 0; round < 100; ++round) {
    EXPECT_FALSE(amount.note(100 * MiB, 0));
    EXPECT_FALSE(amount.note(65 * MiB, 0));
  }
}

TEST(falling_test, little_does_not_fall) {
  falling_amount amount;
  for (int round = 0; round < 100; ++round) {
    EXPECT_FALSE(amount.note(small, 0));
    EXPECT_FALSE(amount.note(0, 0));
  }
}

TEST(falling_test, a_fall_is_over_when_the_amount_rises_and_goes_on_below_its_lowest_point) {
  falling_amount amount;
  EXPECT_FALSE(amount.note(100 * MiB, 0));
  EXPECT_FALSE(amount.note(63 * MiB, 0));
  EXPECT_TRUE(amount.note(60 * MiB, 0));
  EXPECT_TRUE(amount.note(60 * MiB, 0)) << "asked once more";
  EXPECT_TRUE(amount.note(40 * MiB, 0));
  EXPECT_FALSE(amount.note(47 * MiB, 0));
  EXPECT_FALSE(amount.note(40 * MiB, 0)) << "it was there before";
  EXPECT_TRUE(amount.note(30 * MiB, 0));
  EXPECT_TRUE(amount.note(10 * MiB, 0));
  EXPECT_TRUE(amount.note(0, 0));
}

TEST(falling_test, after_a_fall_small_changes_do_not_count) {
  falling_amount amount;
  EXPECT_FALSE(amount.note(100 * MiB, 0));
  EXPECT_TRUE(amount.note(10 * MiB, 0));
  for (int round = 0; round < 100; ++round) {
    EXPECT_FALSE(amount.note(20 * MiB, 0));
    EXPECT_FALSE(amount.note(10 * MiB, 0));
  }
}

TEST(falling_test, after_a_rise_there_is_another_fall) {
  falling_amount amount;
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(amount.note(100 * MiB, 0));
    EXPECT_FALSE(amount.note(70 * MiB, 0));
    EXPECT_TRUE(amount.note(12 * MiB, 0)) << "in round " << round;
  }
}

// How many of so many falls, one after the other, count.
unsigned falls_counted(unsigned falls, std::uint32_t first_ms, std::uint32_t interval_ms) {
  falling_amount amount;
  unsigned counted = 0;
  for (unsigned fall = 0; fall < falls; ++fall) {
    const std::uint32_t now_ms = first_ms + fall * interval_ms;
    EXPECT_FALSE(amount.note(100 * MiB, now_ms));
    counted += amount.note(1 * MiB, now_ms);
  }
  return counted;
}

TEST(falling_test, only_some_falls_in_a_row_count) {
  EXPECT_EQ(falls_counted(100, 0, 0), 16u);
  EXPECT_EQ(falls_counted(100, 1, 1), 16u);
  EXPECT_EQ(falls_counted(101, 123456, 100), 16u + 20u);
  EXPECT_EQ(falls_counted(100, 5, 1000), 100u);
}

TEST(falling_test, the_clock_may_wrap) {
  for (const std::uint32_t first :
       {UINT32_MAX, UINT32_MAX - 1, UINT32_MAX / 2, UINT32_MAX - 1000}) {
    EXPECT_EQ(falls_counted(100, first, 0), 16u);
    EXPECT_EQ(falls_counted(100, first, 1000), 100u);
  }
  seldom event;
  for (int time = 0; time < 16; ++time)
    EXPECT_TRUE(event.take(1000));
  EXPECT_FALSE(event.take(1000));
  EXPECT_TRUE(event.take(1000 + (std::uint32_t{1} << 31))) << "after 25 days";
}

} // namespace
} // namespace mete
