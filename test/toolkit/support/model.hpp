// Allocators against a plain model: a map of the blocks that live.
//
// After each operation these hold: a block is aligned, overlaps no other, lies where owns() says
// yes, and still has the contents that it was given. Deterministic for a seed.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_TOOLKIT_MODEL_HPP
#define METE_TEST_TOOLKIT_MODEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <random>

namespace mete::test {

struct block {
  std::size_t size;
  std::size_t alignment;
  std::uint8_t fill;
};

template <class A>
class model {
public:
  explicit model(A& under_test) : allocator_(under_test) {}

  // False if the allocator had none to give.
  bool allocate(std::size_t size, std::size_t alignment) {
    void* const memory = allocator_.try_allocate(size, alignment);
    if (memory == nullptr)
      return false;
    add(memory, size, alignment);
    return true;
  }

  // A block that the allocator gave by another way.
  void add(void* memory, std::size_t size, std::size_t alignment) {
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    EXPECT_EQ(begin % alignment, 0u) << "alignment " << alignment;
    EXPECT_TRUE(allocator_.owns(memory));
    const auto next = blocks_.lower_bound(begin);
    if (next != blocks_.end()) {
      EXPECT_LE(begin + size, next->first) << "overlaps the next block";
    }
    if (next != blocks_.begin()) {
      const auto& [previous, is] = *std::prev(next);
      EXPECT_LE(previous + is.size, begin) << "overlaps the block before";
    }
    const auto fill = static_cast<std::uint8_t>(++count_);
    std::memset(memory, fill, size);
    blocks_[begin] = {size, alignment, fill};
  }

  std::size_t live() const { return blocks_.size(); }
  const std::map<std::uintptr_t, block>& blocks() const { return blocks_; }

  // Checks the contents and gives the `index`-th block back. REQUIRES: index < live().
  void deallocate(std::size_t index) {
    const auto at = std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(index));
    auto* const memory = reinterpret_cast<void*>(at->first);
    check(at->first, at->second);
    const block was = at->second;
    blocks_.erase(at);
    allocator_.deallocate(memory, was.size, was.alignment);
  }
  void deallocate_all() {
    while (live() != 0)
      deallocate(live() - 1);
  }

  // The allocator has ended all of them itself, such as by a reset.
  void forget_all() { blocks_.clear(); }

  void check_all() const {
    for (const auto& [begin, is] : blocks_)
      check(begin, is);
  }

private:
  static void check(std::uintptr_t begin, const block& is) {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(begin);
    for (std::size_t at = 0; at < is.size; ++at) {
      if (bytes[at] != is.fill) {
        ADD_FAILURE() << "byte " << at << " of a block of " << is.size << " has changed";
        return;
      }
    }
  }

  A& allocator_;
  std::map<std::uintptr_t, block> blocks_;
  std::size_t count_ = 0;
};

struct exercise_options {
  std::uint64_t seed = 1;
  unsigned operations = 20'000;
  std::size_t live_limit = 400;
  std::size_t min_size = 0;
  std::size_t max_size = 3000; // mostly small ones
  std::size_t max_alignment = 4096;
};

// Allocates and frees at random, and in the end frees everything. Of the requests, at least one
// must have been served.
template <class A>
void exercise(A& under_test, const exercise_options& with = {}) {
  std::mt19937_64 random(with.seed);
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
  model<A> blocks(under_test);
  bool served = false;
  for (unsigned step = 0; step < with.operations && !testing::Test::HasFailure(); ++step) {
    if (blocks.live() < with.live_limit && below(100) < 55) {
      const std::size_t range = with.max_size - with.min_size + 1;
      const std::size_t size = with.min_size + below(below(range) + 1);
      const std::size_t alignment =
          below(4) != 0 ? std::size_t{1} << below(5)
                        : std::size_t{1} << below(
                              static_cast<std::size_t>(std::bit_width(with.max_alignment)));
      served |= blocks.allocate(size, std::min(alignment, with.max_alignment));
    } else if (blocks.live() != 0) {
      blocks.deallocate(below(blocks.live()));
    }
    if (step % 1000 == 0)
      blocks.check_all();
  }
  blocks.check_all();
  blocks.deallocate_all();
  EXPECT_TRUE(served);
}

} // namespace mete::test

#endif
