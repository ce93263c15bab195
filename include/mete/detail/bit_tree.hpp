// A set of numbers from 0 to n-1 whose least member is found in O(log64(n)): the bits of the set,
// above them a bit for each word of 64 that is not 0, and so on up to one word.
//
// (A complete tree as in P. van Emde Boas, Preserving Order in a Forest in Less than Logarithmic
// Time, 1975, cut to words.) It lies in memory of its owner. Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_BIT_TREE_HPP
#define METE_DETAIL_BIT_TREE_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mete::detail {

class bit_tree {
public:
  static constexpr std::size_t none = SIZE_MAX;

  // How many words the set takes. REQUIRES: 0 < members <= 2^54.
  static constexpr std::size_t words_for(std::size_t members) noexcept {
    std::size_t words = 0;
    do {
      members = (members + 63) / 64;
      words += members;
    } while (members != 1);
    return words;
  }

  bit_tree() = default;

  // The empty set in words_for(members) words, which are 0.
  bit_tree(std::uint64_t* words, std::size_t members) noexcept {
    do {
      members = (members + 63) / 64;
      levels_[height_++] = words;
      words += members;
    } while (members != 1);
  }

  bool has(std::size_t member) const noexcept {
    return (levels_[0][member / 64] >> (member % 64) & 1) != 0;
  }

  void insert(std::size_t member) noexcept {
    for (int level = 0; level < height_; ++level, member /= 64) {
      std::uint64_t& word = levels_[level][member / 64];
      const std::uint64_t before = word;
      word = before | std::uint64_t{1} << (member % 64);
      if (before != 0)
        return;
    }
  }

  void erase(std::size_t member) noexcept {
    for (int level = 0; level < height_; ++level, member /= 64) {
      std::uint64_t& word = levels_[level][member / 64];
      word &= ~(std::uint64_t{1} << (member % 64));
      if (word != 0)
        return;
    }
  }

  bool empty() const noexcept { return *levels_[height_ - 1] == 0; }

  // The least member, or none.
  std::size_t least() const noexcept {
    if (empty())
      return none;
    std::size_t member = 0;
    for (int level = height_; level-- != 0;)
      member = member * 64 + static_cast<unsigned>(std::countr_zero(levels_[level][member]));
    return member;
  }

private:
  std::uint64_t* levels_[9] = {}; // the members first, at the end one word
  int height_ = 0;
};

} // namespace mete::detail

#endif
