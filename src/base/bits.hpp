// Bit arithmetic on sizes and addresses. All O(1), no state.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace mete {

constexpr bool is_power_of_two(std::size_t value) {
  return std::has_single_bit(value);
}

// REQUIRES: `alignment` is a power of two; the result is representable.
constexpr std::size_t align_down(std::size_t value, std::size_t alignment) {
  return value & ~(alignment - 1);
}
constexpr std::size_t align_up(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}
inline char* align_up(char* address, std::size_t alignment) {
  return reinterpret_cast<char*>(align_up(reinterpret_cast<std::uintptr_t>(address), alignment));
}

constexpr std::size_t divide_up(std::size_t value, std::size_t divisor) {
  return (value + divisor - 1) / divisor;
}

// For figures that were read one after the other, while threads changed them: 0 instead of what
// would be negative.
constexpr std::size_t difference_or_zero(std::size_t whole, std::size_t part) {
  return whole > part ? whole - part : 0;
}

// Floor of the binary logarithm. REQUIRES: value > 0.
constexpr unsigned log2_floor(std::size_t value) {
  return static_cast<unsigned>(std::bit_width(value)) - 1;
}

// The lowest `count` bits set. REQUIRES: count <= 64.
constexpr std::uint64_t low_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

// How many bits are set. On processors whose baseline has no instruction for it, std::popcount is a
// call into the compiler's library; this is arithmetic (H. S. Warren, Hacker's Delight, 5-1).
constexpr unsigned count_bits(std::uint64_t bits) {
#if defined(__x86_64__) && !defined(__POPCNT__)
  bits -= bits >> 1 & 0x5555555555555555;
  bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
  bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<unsigned>(bits * 0x0101010101010101 >> 56);
#else
  return static_cast<unsigned>(std::popcount(bits));
#endif
}

} // namespace mete
