// Sizes and alignments, with every overflow seen. All O(1), no state.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_ARITHMETIC_HPP
#define METE_DETAIL_ARITHMETIC_HPP

#include <cstddef>
#include <cstdint>

namespace mete::detail {

// std::has_single_bit counts bits, which is a call where the processor's baseline cannot.
constexpr bool is_power_of_two(std::size_t value) noexcept {
  return value != 0 && (value & (value - 1)) == 0;
}

// Each returns false, and leaves `result` unspecified, if the result does not fit.
[[nodiscard]] constexpr bool add(std::size_t a, std::size_t b, std::size_t& result) noexcept {
  return !__builtin_add_overflow(a, b, &result);
}
[[nodiscard]] constexpr bool multiply(std::size_t a, std::size_t b, std::size_t& result) noexcept {
  return !__builtin_mul_overflow(a, b, &result);
}

// REQUIRES: `alignment` is a power of two.
[[nodiscard]] constexpr bool round_up(std::size_t size, std::size_t alignment,
                                      std::size_t& result) noexcept {
  if (!add(size, alignment - 1, result))
    return false;
  result &= ~(alignment - 1);
  return true;
}

// For values that are known to be small. REQUIRES: as above, and the result fits.
constexpr std::size_t align_up(std::size_t value, std::size_t alignment) noexcept {
  return (value + alignment - 1) & ~(alignment - 1);
}
constexpr std::size_t align_down(std::size_t value, std::size_t alignment) noexcept {
  return value & ~(alignment - 1);
}

constexpr bool is_aligned(std::size_t value, std::size_t alignment) noexcept {
  return (value & (alignment - 1)) == 0;
}

inline std::uintptr_t address_of(const void* pointer) noexcept {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

} // namespace mete::detail

#endif
