// Free blocks by size, so that one that fits is found in constant time.
//
// Two-level segregated fit (M. Masmano, I. Ripoll, A. Crespo, J. Real, TLSF: a New Dynamic Memory
// Allocator for Real-Time Systems, 2004): each doubling of sizes has 32 bins, sizes below 64 have a
// bin each, and a bit says of each bin whether it has blocks, another one of each doubling. A
// request looks first at the bin of its own size, whose blocks may or may not be large enough, and
// then at the bins in which all are.
//
// Here are the numbers, the bits and the first block of each bin; how blocks are linked is the
// business of whoever owns them. All O(1). Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_SIZE_BINS_HPP
#define METE_DETAIL_SIZE_BINS_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace mete::detail {

// `Block` names a block, `None` none of them. Sizes have at most `SizeBits` bits, in any unit.
template <class Block, Block None, int SizeBits>
class size_bins {
  static constexpr int bits_per_doubling = 5;
  static constexpr unsigned bins_per_doubling = 1U << bits_per_doubling;
  static constexpr unsigned levels = static_cast<unsigned>(SizeBits) - bits_per_doubling + 1;
  static_assert(levels <= 64);

public:
  static constexpr unsigned count = levels * bins_per_doubling;

  // What may be asked for at most.
  static constexpr std::uint64_t max_size = std::uint64_t{1} << (SizeBits - 1);

  size_bins() noexcept { clear(); }

  void clear() noexcept {
    std::fill(std::begin(first_), std::end(first_), None);
    std::fill(std::begin(bins_with_blocks_), std::end(bins_with_blocks_), 0U);
    levels_with_blocks_ = 0;
  }

  // The bin that holds blocks of this size. REQUIRES: 0 < size <= max_size.
  static constexpr unsigned bin_of(std::uint64_t size) noexcept {
    const auto shift = shift_of(size);
    return (shift << bits_per_doubling) + static_cast<unsigned>(size >> shift);
  }

  // The first bin of which all blocks are at least this large. REQUIRES: as above.
  static constexpr unsigned bin_for(std::uint64_t size) noexcept {
    return bin_of(size + ((std::uint64_t{1} << shift_of(size)) - 1));
  }

  Block first(unsigned bin) const noexcept { return first_[bin]; }

  // REQUIRES: bin < count.
  void set_first(unsigned bin, Block block) noexcept {
    first_[bin] = block;
    const unsigned level = bin / bins_per_doubling;
    const std::uint32_t bit = std::uint32_t{1} << (bin % bins_per_doubling);
    if (block != None) {
      bins_with_blocks_[level] |= bit;
      levels_with_blocks_ |= std::uint64_t{1} << level;
      return;
    }
    bins_with_blocks_[level] &= ~bit;
    if (bins_with_blocks_[level] == 0)
      levels_with_blocks_ &= ~(std::uint64_t{1} << level);
  }

  // The first block of the first bin from `bin` on that has any, or None. REQUIRES: bin < count.
  Block find_from(unsigned bin) const noexcept {
    unsigned level = bin / bins_per_doubling;
    std::uint32_t bins =
        bins_with_blocks_[level] & (~std::uint32_t{0} << (bin % bins_per_doubling));
    if (bins == 0) {
      const std::uint64_t above = levels_with_blocks_ & (~std::uint64_t{1} << level);
      if (above == 0)
        return None;
      level = static_cast<unsigned>(std::countr_zero(above));
      bins = bins_with_blocks_[level];
    }
    return first_[level * bins_per_doubling + static_cast<unsigned>(std::countr_zero(bins))];
  }

  // The first block of the last bin that has any, or None.
  Block find_last() const noexcept {
    if (levels_with_blocks_ == 0)
      return None;
    const auto level = static_cast<unsigned>(std::bit_width(levels_with_blocks_)) - 1;
    const auto bin = static_cast<unsigned>(std::bit_width(bins_with_blocks_[level])) - 1;
    return first_[level * bins_per_doubling + bin];
  }

  // Whether the bits say what the bins have. O(bins).
  bool agree() const noexcept {
    for (unsigned bin = 0; bin < count; ++bin) {
      const unsigned level = bin / bins_per_doubling;
      const bool by_bit = (bins_with_blocks_[level] >> (bin % bins_per_doubling) & 1) != 0;
      const bool by_level = (levels_with_blocks_ >> level & 1) != 0;
      if (by_bit != (first_[bin] != None) || by_level != (bins_with_blocks_[level] != 0))
        return false;
    }
    return true;
  }

private:
  // How many low bits of a size its bin does not tell.
  static constexpr unsigned shift_of(std::uint64_t size) noexcept {
    return static_cast<unsigned>(std::bit_width(size | bins_per_doubling)) - bits_per_doubling - 1;
  }

  std::uint64_t levels_with_blocks_;
  std::uint32_t bins_with_blocks_[levels];
  Block first_[count];
};

} // namespace mete::detail

#endif
