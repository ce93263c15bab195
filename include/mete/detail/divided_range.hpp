// One range of addresses, divided among parts, so that one look into a table says whose an address
// is.
//
// The range is acquired at once and cut into granules, at most 255 and of at least 4 KiB; a part
// has whole granules, in the order of the parts. So between parts up to a granule of address space
// is lost, which nobody touches. All O(1), but the constructor. Thread safety: does not change.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_DIVIDED_RANGE_HPP
#define METE_DETAIL_DIVIDED_RANGE_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <mete/detail/arithmetic.hpp>
#include <mete/source.hpp>

namespace mete::detail {

template <std::size_t Parts>
class divided_range {
  static_assert(Parts >= 1 && Parts <= 16, "the rounding of the parts must fit in the table");

public:
  // What find() says of an address that is no part's.
  static constexpr std::size_t none = Parts;

  // Parts of 0 bytes are empty; all are if the source has no more. The first part is aligned to
  // `alignment` if that can be had. REQUIRES: a power of two.
  divided_range(source& upstream, const std::array<std::size_t, Parts>& bytes,
                std::size_t alignment) noexcept
      : upstream_(upstream) {
    std::size_t asked = 0;
    for (const std::size_t each : bytes)
      if (!add(asked, each, asked) || asked > PTRDIFF_MAX / 2)
        return;
    if (asked == 0)
      return;
    shift_ = static_cast<unsigned>(
        std::countr_zero(std::max(min_granule_bytes, std::bit_ceil(asked / table_granules + 1))));
    const std::size_t granule_bytes = std::size_t{1} << shift_;
    std::size_t all = 0;
    for (const std::size_t each : bytes)
      all += align_up(each, granule_bytes);
    acquire(all, std::max(alignment, min_granule_bytes));
    if (memory_.empty())
      return;
    bytes_ = all;
    std::size_t at = 0;
    for (std::size_t part = 0; part < Parts; ++part) {
      const std::size_t next = at + align_up(bytes[part], granule_bytes);
      parts_[part] = memory_.subspan(at, bytes[part]);
      std::fill(owners_ + (at >> shift_), owners_ + (next >> shift_),
                static_cast<std::uint8_t>(part));
      at = next;
    }
  }
  divided_range(const divided_range&) = delete;
  divided_range& operator=(const divided_range&) = delete;
  ~divided_range() {
    if (!memory_.empty())
      upstream_.release(memory_, alignment_);
  }

  // As many bytes as were asked for, or none.
  std::span<std::byte> part(std::size_t which) const noexcept { return parts_[which]; }

  // The part at the address, or `none`. What is lost between parts counts to the one before.
  std::size_t find(const void* address) const noexcept {
    const std::size_t offset = address_of(address) - address_of(memory_.data());
    return offset < bytes_ ? owners_[offset >> shift_] : none;
  }

  std::size_t reserved_bytes() const noexcept { return memory_.size(); }

private:
  static constexpr std::size_t min_granule_bytes = 4096;
  static constexpr std::size_t max_granules = 255;
  // The rest is for the last granule of each part, which need not be full.
  static constexpr std::size_t table_granules = max_granules - Parts;

  void acquire(std::size_t bytes, std::size_t alignment) noexcept {
    for (alignment_ = alignment;; alignment_ = min_granule_bytes) {
      memory_ = upstream_.acquire(bytes, alignment_);
      if (!memory_.empty() || alignment_ == min_granule_bytes)
        return;
    }
  }

  source& upstream_;
  std::span<std::byte> memory_; // as the source gave it
  std::size_t alignment_ = 1;
  std::size_t bytes_ = 0; // Invariant: the owners of bytes_ >> shift_ granules are known
  unsigned shift_ = 0;
  std::uint8_t owners_[max_granules] = {};
  std::array<std::span<std::byte>, Parts> parts_{};
};

} // namespace mete::detail

#endif
