// Every size, every class, every offset: the tables are small enough to be looked at whole.
//
// SPDX-License-Identifier: MIT
#include "heap/size_class.hpp"

#include "heap/slab.hpp"
#include "page/metadata.hpp"

#include <gtest/gtest.h>

namespace mete::heap {
namespace {

TEST(size_class_test, classes_ascend_in_multiples_of_the_block_alignment) {
  std::size_t before = 0;
  for (unsigned index = 0; index < class_count; ++index) {
    EXPECT_EQ(size_classes[index].block_bytes, class_block_bytes(index));
    EXPECT_EQ(class_block_bytes(index) % block_alignment, 0u);
    EXPECT_GT(class_block_bytes(index), before);
    before = class_block_bytes(index);
  }
  EXPECT_EQ(before, max_slab_block_bytes);
}

TEST(size_class_test, every_size_gets_the_smallest_class_that_holds_it) {
  unsigned expected = 0;
  for (std::size_t size = 1; size <= max_slab_block_bytes; ++size) {
    while (class_block_bytes(expected) < size)
      ++expected;
    ASSERT_EQ(class_of(size), expected) << size;
  }
}

TEST(size_class_test, the_fast_paths_look_up_the_same_class) {
  for (std::size_t size = 1; size <= max_table_bytes; ++size)
    ASSERT_EQ(bin_offset_table[(size - 1) / 16], class_of(size) << tag_class_shift) << size;
  for (std::size_t size = max_table_bytes + 1; size <= max_slab_block_bytes; ++size)
    ASSERT_EQ(coarse_bin_offset_table[(size - max_table_bytes - 1) / coarse_step_bytes],
              class_of(size) << tag_class_shift)
        << size;
}

TEST(size_class_test, waste_is_bounded) {
  double sum = 0;
  for (std::size_t size = 1; size <= max_slab_block_bytes; ++size) {
    const std::size_t waste = class_block_bytes(class_of(size)) - size;
    const std::size_t allowed = size <= 256 ? 15 : size <= 8 * KiB ? size / 8 : size / 4;
    ASSERT_LE(waste, allowed) << size;
    sum += static_cast<double>(waste) / static_cast<double>(size + waste);
  }
  EXPECT_LE(sum / static_cast<double>(max_slab_block_bytes), 0.10) << "on average over all sizes";
}

TEST(size_class_test, a_slab_is_filled_but_for_less_than_a_block) {
  for (const size_class& each : size_classes) {
    const std::size_t bytes = each.units * unit_bytes;
    EXPECT_GE(each.capacity, 8u) << each.block_bytes;
    EXPECT_LE(std::size_t{each.capacity} * each.block_bytes, bytes);
    EXPECT_GT(std::size_t{each.capacity + 1u} * each.block_bytes, bytes);
    EXPECT_EQ(each.words, (each.capacity + 63u) / 64);
    EXPECT_LE(each.words, max_slab_words);
  }
}

TEST(size_class_test, descriptors_hold_both_bitmaps_and_stay_small) {
  for (const size_class& each : size_classes) {
    EXPECT_GE(each.descriptor_bytes, sizeof(slab) + 2u * 8 * each.words);
    EXPECT_EQ(each.descriptor_bytes % cache_line_bytes, 0u);
    EXPECT_LE(each.descriptor_bytes, page::metadata_max_bytes);
    const double share =
        static_cast<double>(each.descriptor_bytes) / static_cast<double>(each.units * unit_bytes);
    EXPECT_LE(share, each.block_bytes < 64 ? 0.02 : 0.006) << each.block_bytes;
  }
}

TEST(size_class_test, the_reciprocal_divides_every_offset_exactly) {
  for (const size_class& each : size_classes)
    for (std::uint64_t offset = 0; offset < each.units * unit_bytes; ++offset)
      ASSERT_EQ(offset * each.reciprocal >> 32, offset / each.block_bytes)
          << offset << " in blocks of " << each.block_bytes;
}

TEST(size_class_test, aligned_classes_hold_the_size_and_keep_the_alignment) {
  for (std::size_t alignment = 1; alignment <= 2 * max_slab_block_bytes; alignment *= 2) {
    for (std::size_t size = 1; size <= max_slab_block_bytes; size += size < 600 ? 1 : 37) {
      unsigned expected = class_of(size); // the smallest whose blocks are all aligned
      while (expected < class_count && class_block_bytes(expected) % alignment != 0)
        ++expected;
      const unsigned found = aligned_class_of(size, alignment);
      ASSERT_EQ(found, expected) << size << " aligned to " << alignment;
      if (alignment <= block_alignment) {
        ASSERT_EQ(found, class_of(size));
      }
    }
  }
  EXPECT_EQ(aligned_class_of(max_slab_block_bytes + 1, 1), class_count);
  EXPECT_EQ(aligned_class_of(1, 2 * max_slab_block_bytes), class_count);
  EXPECT_EQ(aligned_class_of(SIZE_MAX, SIZE_MAX / 2 + 1), class_count);
}

TEST(size_class_test, caches_grow_from_small_to_bounded) {
  for (const size_class& each : size_classes) {
    EXPECT_GE(each.initial_cached, 2u);
    EXPECT_LE(each.initial_cached, each.max_cached);
    EXPECT_LE(std::size_t{each.initial_cached} * each.block_bytes, 64 * KiB);
    EXPECT_LE(std::size_t{each.max_cached} * each.block_bytes, 256 * KiB);
    EXPECT_LE((each.max_cached + 1u) * sizeof(void*), page::metadata_max_bytes);
  }
}

} // namespace
} // namespace mete::heap
