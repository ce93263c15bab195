// Free ranges of address space that cannot be written: described beside it, not in it.
//
// A table of ranges in the order of their addresses, where neighbours are joined (first fit with
// immediate coalescing, as detail/free_ranges.hpp does it in place). O(free ranges), which are few:
// sources hand out big blocks. Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_RANGE_TABLE_HPP
#define METE_DETAIL_RANGE_TABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <mete/detail/arithmetic.hpp>

namespace mete::detail {

class range_table {
public:
  struct range {
    std::uintptr_t begin;
    std::size_t bytes;
  };

  // How many ranges there can be: every second granule is free.
  static constexpr std::size_t ranges_for(std::size_t granules) noexcept {
    return granules / 2 + 1;
  }

  range_table() = default;
  // The table lies in `room`, which must be as large as ranges_for() says.
  explicit range_table(std::span<range> room) noexcept : room_(room) {}

  // REQUIRES: no part of it is free. Begin and size are multiples of the granule, always.
  void insert(std::uintptr_t begin, std::size_t bytes) noexcept {
    range* const after = first_from(begin);
    const bool joins_before = after != room_.data() && end_of(*(after - 1)) == begin;
    const bool joins_after = after != end() && begin + bytes == after->begin;
    if (joins_before && joins_after) {
      (after - 1)->bytes += bytes + after->bytes;
      erase(after);
    } else if (joins_before) {
      (after - 1)->bytes += bytes;
    } else if (joins_after) {
      *after = {begin, bytes + after->bytes};
    } else {
      add(after, {begin, bytes});
    }
  }

  // Finds the first that fits: its begin, or 0. REQUIRES: bytes > 0, `alignment` is a power of two.
  std::uintptr_t take(std::size_t bytes, std::size_t alignment) noexcept {
    for (range* each = room_.data(); each != end(); ++each) {
      std::size_t begin = 0;
      if (!round_up(each->begin, alignment, begin) || begin > end_of(*each) ||
          end_of(*each) - begin < bytes)
        continue;
      const range before{each->begin, begin - each->begin};
      const range rest{begin + bytes, end_of(*each) - begin - bytes};
      if (before.bytes != 0 && rest.bytes != 0) {
        *each = before;
        add(each + 1, rest);
      } else if (before.bytes != 0 || rest.bytes != 0) {
        *each = before.bytes != 0 ? before : rest;
      } else {
        erase(each);
      }
      return begin;
    }
    return 0;
  }

  // Whether any byte of it is free.
  bool overlaps(std::uintptr_t begin, std::size_t bytes) const noexcept {
    return std::any_of(room_.data(), room_.data() + count_, [=](const range& each) {
      return each.begin < begin + bytes && begin < end_of(each);
    });
  }

  std::size_t free_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const range& each : room_.first(count_))
      bytes += each.bytes;
    return bytes;
  }

private:
  static std::uintptr_t end_of(const range& which) noexcept { return which.begin + which.bytes; }
  range* end() const noexcept { return room_.data() + count_; }
  range* first_from(std::uintptr_t begin) const noexcept {
    return std::lower_bound(
        room_.data(), end(), begin,
        [](const range& each, std::uintptr_t address) { return each.begin < address; });
  }

  void add(range* at, range what) noexcept {
    std::copy_backward(at, end(), end() + 1);
    *at = what;
    ++count_;
  }
  void erase(range* at) noexcept {
    std::copy(at + 1, end(), at);
    --count_;
  }

  // Invariants: the first count_ ranges ascend, and between two of them at least a granule is
  // taken.
  std::span<range> room_;
  std::size_t count_ = 0;
};

} // namespace mete::detail

#endif
