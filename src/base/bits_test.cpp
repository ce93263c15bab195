// SPDX-License-Identifier: MIT
#include "base/bits.hpp"

#include <gtest/gtest.h>

namespace mete {
namespace {

TEST(bits_test, rounding_agrees_with_division) {
  for (std::size_t alignment = 1; alignment <= 128; alignment *= 2) {
    EXPECT_TRUE(is_power_of_two(alignment));
    for (std::size_t value = 0; value <= 1000; ++value) {
      ASSERT_EQ(align_down(value, alignment), value / alignment * alignment);
      ASSERT_EQ(align_up(value, alignment), (value + alignment - 1) / alignment * alignment);
    }
  }
}

TEST(bits_test, divide_up_takes_any_divisor) {
  for (std::size_t divisor = 1; divisor <= 50; ++divisor)
    for (std::size_t value = 0; value <= 500; ++value)
      ASSERT_EQ(divide_up(value, divisor), value / divisor + (value % divisor != 0));
}

TEST(bits_test, powers_of_two_have_one_bit) {
  EXPECT_FALSE(is_power_of_two(0));
  for (std::size_t value = 1; value <= 5000; ++value)
    ASSERT_EQ(is_power_of_two(value), (value & (value - 1)) == 0);
  EXPECT_TRUE(is_power_of_two(std::size_t{1} << 63));
  EXPECT_FALSE(is_power_of_two(SIZE_MAX));
}

TEST(bits_test, log2_floor_is_the_highest_bit) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::size_t power = std::size_t{1} << bit;
    EXPECT_EQ(log2_floor(power), bit);
    EXPECT_EQ(log2_floor(power | (power - 1)), bit);
  }
}

TEST(bits_test, low_bits_are_countable) {
  EXPECT_EQ(low_bits(0), 0u);
  EXPECT_EQ(low_bits(64), UINT64_MAX);
  for (unsigned count = 0; count <= 64; ++count) {
    EXPECT_EQ(std::popcount(low_bits(count)), static_cast<int>(count));
    EXPECT_EQ(std::countr_one(low_bits(count)), static_cast<int>(count));
  }
}

TEST(bits_test, set_bits_are_counted) {
  std::uint64_t bits = 1;
  for (int step = 0; step < 1000; ++step) {
    EXPECT_EQ(count_bits(bits), static_cast<unsigned>(std::popcount(bits)));
    bits = bits * 6364136223846793005 + 1442695040888963407; // Knuth's MMIX generator
  }
  EXPECT_EQ(count_bits(0), 0u);
  EXPECT_EQ(count_bits(UINT64_MAX), 64u);
}

TEST(bits_test, addresses_are_rounded_like_numbers) {
  alignas(64) char bytes[128];
  EXPECT_EQ(align_up(bytes, 64), bytes);
  EXPECT_EQ(align_up(bytes + 1, 64), bytes + 64);
  EXPECT_EQ(align_up(bytes + 63, 64), bytes + 64);
}

TEST(bits_test, a_difference_is_never_negative) {
  EXPECT_EQ(difference_or_zero(5, 3), 2u);
  EXPECT_EQ(difference_or_zero(3, 3), 0u);
  EXPECT_EQ(difference_or_zero(3, 5), 0u);
  EXPECT_EQ(difference_or_zero(0, SIZE_MAX), 0u);
}

} // namespace
} // namespace mete
