// Size classes: which block sizes there are, and how a slab of each is laid out.
//
// 16-byte steps to 256, then eight classes per doubling to 8 KiB and four to 32 KiB. Eight bound
// the internal waste at 12.5 % (about 6 % on average); above 8 KiB a block is several pages, of
// which the unused last one is rarely touched, so finer classes would only scatter blocks over more
// slabs. Every block is a multiple of 16 bytes, and starts at a multiple of its own size from the
// slab's first unit: so a class whose size is a multiple of 2^k holds blocks that are aligned to
// 2^k.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/bits.hpp"
#include "base/placement.hpp"
#include "base/units.hpp"
#include "page/region.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace mete::heap {

inline constexpr unsigned class_count = 64;
inline constexpr std::size_t max_slab_block_bytes = 32 * KiB;
inline constexpr std::size_t max_table_bytes = 1 * KiB; // sizes that the fast path looks up
inline constexpr std::size_t coarse_step_bytes = 128;   // all larger classes are multiples of it
inline constexpr unsigned max_slab_words = 64;          // 4096 blocks of 16 bytes

// A tag's low bits are the class times 16: the offset of its bin in the thread's cache, so that
// `tag ^ own tag` is ready to use (heap/thread_cache.hpp).
inline constexpr unsigned tag_class_shift = 4;
inline constexpr std::uint32_t tag_class_end = class_count << tag_class_shift;
static_assert(tag_class_end <= 1u << page::tag_owner_shift);
inline constexpr std::uint32_t tag_shared = 1; // with an owner: a shared heap (heap/heap.hpp)
inline constexpr std::uint32_t tag_purged = 4; // with an owner: some pages of the slab are purged

// REQUIRES: the tag has an owner.
constexpr unsigned class_of_tag(std::uint32_t tag) {
  return (tag >> tag_class_shift) % class_count;
}

struct size_class {
  std::uint32_t block_bytes;
  std::uint32_t reciprocal; // ceil(2^32 / block_bytes): offset * reciprocal >> 32 is the block
  std::uint16_t capacity;   // blocks per slab
  std::uint8_t units;       // of a slab
  std::uint8_t words;       // of 64 bits, in each of its bitmaps
  std::uint16_t descriptor_bytes;
  std::uint16_t initial_cached; // capacity of a thread's cache for it: at first,
  std::uint16_t max_cached;     // and at most
};

inline constexpr std::size_t slab_header_bytes = 64; // sizeof(slab), heap/slab.hpp

// The class of a size. REQUIRES: 0 < size <= max_slab_block_bytes. O(1), no table.
constexpr unsigned class_of(std::size_t size) {
  if (size <= 256)
    return static_cast<unsigned>((size - 1) >> 4);
  const unsigned power = log2_floor(size - 1); // size in (2^power, 2^(power+1)]
  const unsigned steps_shift = size <= 8 * KiB ? 3 : 2;
  const auto step =
      static_cast<unsigned>((size - 1) >> (power - steps_shift)) & ((1u << steps_shift) - 1);
  return size <= 8 * KiB ? 16 + (power - 8) * 8 + step : 56 + (power - 13) * 4 + step;
}

constexpr std::size_t class_block_bytes(unsigned index) {
  if (index < 16)
    return (index + 1) * 16;
  if (index < 56) {
    const unsigned power = 8 + (index - 16) / 8;
    return (std::size_t{8} + (index - 16) % 8 + 1) << (power - 3);
  }
  const unsigned power = 13 + (index - 56) / 4;
  return (std::size_t{4} + (index - 56) % 4 + 1) << (power - 2);
}

constexpr size_class describe_class(unsigned index) {
  constexpr auto clamp = [](std::size_t value, std::size_t low, std::size_t high) {
    return static_cast<std::uint16_t>(value < low ? low : value > high ? high : value);
  };
  const std::size_t bytes = class_block_bytes(index);
  const std::size_t units = bytes <= 8 * KiB ? 1 : bytes <= 16 * KiB ? 2 : 4;
  const std::size_t capacity = units * unit_bytes / bytes;
  const std::size_t words = divide_up(capacity, 64);
  size_class result{};
  result.block_bytes = static_cast<std::uint32_t>(bytes);
  result.reciprocal = static_cast<std::uint32_t>(divide_up(std::size_t{1} << 32, bytes));
  result.capacity = static_cast<std::uint16_t>(capacity);
  result.units = static_cast<std::uint8_t>(units);
  result.words = static_cast<std::uint8_t>(words);
  result.descriptor_bytes =
      static_cast<std::uint16_t>(align_up(slab_header_bytes + 2 * 8 * words, cache_line_bytes));
  result.initial_cached = clamp(2 * KiB / bytes, 2, 32);
  result.max_cached = clamp(256 * KiB / bytes, 8, 2048);
  return result;
}

METE_BESIDE_CODE("size_classes")
inline constexpr std::array<size_class, class_count> size_classes = [] {
  std::array<size_class, class_count> all{};
  for (unsigned index = 0; index < class_count; ++index)
    all[index] = describe_class(index);
  return all;
}();
static_assert(size_classes[class_count - 1].block_bytes == max_slab_block_bytes);
static_assert(size_classes[0].words == max_slab_words);

// By (size - 1) / 16, the offset of the class's bin: what the fast path of malloc looks up.
METE_BESIDE_CODE("bin_offset_table")
inline constexpr std::array<std::uint16_t, max_table_bytes / 16> bin_offset_table = [] {
  std::array<std::uint16_t, max_table_bytes / 16> table{};
  for (unsigned index = 0; index < table.size(); ++index)
    table[index] = static_cast<std::uint16_t>(class_of((index + 1) * 16) << tag_class_shift);
  return table;
}();

// The same for larger sizes, by (size - max_table_bytes - 1) / 128: what is tried next.
METE_BESIDE_CODE("coarse_bin_offset_table")
inline constexpr auto coarse_bin_offset_table = [] {
  std::array<std::uint16_t, (max_slab_block_bytes - max_table_bytes) / coarse_step_bytes> table{};
  for (unsigned index = 0; index < table.size(); ++index)
    table[index] = static_cast<std::uint16_t>(
        class_of(max_table_bytes + (index + 1) * coarse_step_bytes) << tag_class_shift);
  return table;
}();

// Whether a block of the class begins at `offset` from the beginning of its slab: offset * r mod
// 2^32 < r for r = ceil(2^32 / block_bytes) says that block_bytes divides it. Source: D. Lemire, O.
// Kaser, N. Kurz, "Faster remainder by direct computation" (2019); exact as far as slabs are long,
// which is asserted below.
constexpr bool begins_block(std::uint32_t reciprocal, std::uint32_t offset) {
  return offset * reciprocal < reciprocal;
}
static_assert([] {
  for (const size_class& each : size_classes) {
    // With r * block_bytes = 2^32 + excess, offset = index * block_bytes + rest gives index *
    // excess
    // + rest * r, which must not reach r for rest = 0, nor wrap for the largest rest. The last
    // index is of what is left over behind the blocks.
    const std::uint64_t excess = std::uint64_t{each.reciprocal} * each.block_bytes % (1ull << 32);
    const std::uint64_t last = each.units * unit_bytes / each.block_bytes;
    const std::uint64_t left_over = each.units * unit_bytes % each.block_bytes;
    if (last * excess >= each.reciprocal ||
        last * excess + left_over * each.reciprocal > std::uint64_t{1} << 32)
      return false;
  }
  return true;
}());

// The smallest class whose blocks hold `size` and are aligned to `alignment`; class_count if there
// is none. REQUIRES: size > 0.
constexpr unsigned aligned_class_of(std::size_t size, std::size_t alignment) {
  if (size > max_slab_block_bytes || alignment > max_slab_block_bytes)
    return class_count;
  unsigned index = class_of(size);
  while (index < class_count && class_block_bytes(index) % alignment != 0)
    ++index;
  return index;
}

} // namespace mete::heap
