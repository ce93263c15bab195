// Divides a span among a few large blocks: what sources that hold one span do with it.
//
// The free ranges form a list in the order of their addresses, each described in its own first
// bytes, and neighbours are joined when a block comes back (first fit with immediate coalescing;
// D. Knuth, The Art of Computer Programming, volume 1, 2.5). O(free ranges), which are few: sources
// hand out big blocks, and allocators divide those.
//
// Not thread-safe. What lies free is declared unusable (detail/annotate.hpp), its first bytes
// excepted.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_FREE_RANGES_HPP
#define METE_DETAIL_FREE_RANGES_HPP

#include <cstddef>
#include <new>
#include <span>

#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>

namespace mete::detail {

class free_ranges {
public:
  // All blocks begin at multiples of the granule and are as many of them long.
  // REQUIRES: a power of two, at least `min_granule`.
  static constexpr std::size_t min_granule = 2 * sizeof(void*);
  explicit constexpr free_ranges(std::size_t granule) noexcept : granule_(granule) {}

  // Adds a range, cut to whole granules; joins it to its neighbours.
  // REQUIRES: nothing of it is free.
  void insert(std::span<std::byte> memory) noexcept {
    const std::uintptr_t from = align_up(address_of(memory.data()), granule_);
    const std::uintptr_t to = align_down(address_of(memory.data()) + memory.size(), granule_);
    if (from >= to)
      return;
    std::byte* const begin = memory.data() + (from - address_of(memory.data()));
    range** link = &first_;
    range* before = nullptr;
    while (*link != nullptr && address_of(*link) < from) {
      before = *link;
      link = &(*link)->next;
    }
    own(begin, sizeof(range));
    auto* const added = new (begin) range{*link, to - from};
    *link = added;
    unusable(begin + sizeof(range), added->bytes - sizeof(range));
    join_with_next(added);
    if (before != nullptr)
      join_with_next(before);
  }

  // The first that fits, or nothing. REQUIRES: bytes > 0, `alignment` is a power of two.
  std::span<std::byte> take(std::size_t bytes, std::size_t alignment) noexcept {
    std::size_t rounded = 0;
    if (!round_up(bytes, granule_, rounded))
      return {};
    for (range** link = &first_; *link != nullptr; link = &(*link)->next) {
      range* const found = *link;
      std::size_t begin = 0;
      const std::uintptr_t end = address_of(found) + found->bytes;
      if (!round_up(address_of(found), alignment, begin) || begin > end || end - begin < rounded)
        continue;
      auto* const base = reinterpret_cast<std::byte*>(found);
      const std::size_t offset = begin - address_of(found);
      const std::size_t rest = end - begin - rounded;
      range* next = found->next;
      if (rest != 0) {
        own(base + offset + rounded, sizeof(range));
        next = new (base + offset + rounded) range{next, rest};
      }
      if (offset != 0) {
        found->bytes = offset;
        found->next = next;
      } else {
        *link = next;
      }
      usable(base + offset, rounded);
      return {base + offset, rounded};
    }
    return {};
  }

  // Whether any byte of the span is free. O(free ranges).
  bool overlaps(std::span<const std::byte> memory) const noexcept {
    const std::uintptr_t begin = address_of(memory.data());
    for (const range* each = first_; each != nullptr; each = each->next)
      if (address_of(each) < begin + memory.size() && begin < address_of(each) + each->bytes)
        return true;
    return false;
  }

  std::size_t free_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const range* each = first_; each != nullptr; each = each->next)
      bytes += each->bytes;
    return bytes;
  }

private:
  struct range {
    range* next;
    std::size_t bytes;
  };
  static_assert(sizeof(range) <= min_granule);

  static void join_with_next(range* left) noexcept {
    range* const right = left->next;
    if (right == nullptr || address_of(left) + left->bytes != address_of(right))
      return;
    left->bytes += right->bytes;
    left->next = right->next;
    unusable(right, sizeof(range));
  }

  range* first_ = nullptr;
  std::size_t granule_;
};

} // namespace mete::detail

#endif
