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

// Floor of the binary logarithm. REQUIRES: value > 0.
constexpr unsigned log2_floor(std::size_t value) {
  return static_cast<unsigned>(std::bit_width(value)) - 1;
}

// The lowest `count` bits set. REQUIRES: count <= 64.
constexpr std::uint64_t low_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

} // namespace mete
