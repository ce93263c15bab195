// Sources against a plain model: blocks are aligned, large enough, do not overlap, and keep their
// contents.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_TOOLKIT_SOURCES_HPP
#define METE_TEST_TOOLKIT_SOURCES_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <mete/source.hpp>

namespace mete::test {

struct source_exercise_options {
  std::size_t max_bytes = 60'000;
  std::size_t max_alignment = 8192;
  std::uint64_t seed = 1;
  unsigned operations = 3000;
  std::size_t live_limit = 20;
};

inline void exercise_source(source& under_test, const source_exercise_options& with = {}) {
  struct acquired {
    std::span<std::byte> memory;
    std::size_t alignment;
    std::byte fill;
  };
  std::mt19937_64 random(with.seed);
  std::vector<acquired> live;
  std::size_t served = 0;
  const std::size_t out_before = under_test.usage().acquired_bytes;
  const auto give_back = [&](std::size_t index) {
    const acquired gone = live[index];
    live.erase(live.begin() + static_cast<std::ptrdiff_t>(index));
    EXPECT_TRUE(std::all_of(gone.memory.begin(), gone.memory.end(),
                            [&](std::byte each) { return each == gone.fill; }));
    under_test.release(gone.memory, gone.alignment);
  };
  for (unsigned step = 0; step < with.operations && !testing::Test::HasFailure(); ++step) {
    if (live.size() == with.live_limit || (!live.empty() && random() % 100 < 45)) {
      give_back(random() % live.size());
      continue;
    }
    const std::size_t bytes = 1 + random() % with.max_bytes;
    std::size_t alignment = 1;
    while (alignment < with.max_alignment && random() % 4 != 0)
      alignment *= 2;
    const std::span<std::byte> memory = under_test.acquire(bytes, alignment);
    if (memory.empty())
      continue;
    ++served;
    EXPECT_GE(memory.size(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % alignment, 0u);
    for (const acquired& each : live)
      EXPECT_TRUE(memory.data() >= each.memory.data() + each.memory.size() ||
                  each.memory.data() >= memory.data() + memory.size())
          << "two blocks overlap";
    const auto fill = static_cast<std::byte>(step);
    std::memset(memory.data(), static_cast<int>(fill), memory.size());
    live.push_back({memory, alignment, fill});
  }
  while (!live.empty())
    give_back(live.size() - 1);
  EXPECT_GT(served, 0u);
  EXPECT_EQ(under_test.usage().acquired_bytes, out_before);
}

inline void expect_impossible_acquisitions_fail(source& under_test) {
  for (const std::size_t bytes : {std::size_t{0}, SIZE_MAX, SIZE_MAX - 4096, SIZE_MAX / 2 + 1})
    for (const std::size_t alignment : {1u, 16u, 4096u, 65536u})
      EXPECT_TRUE(under_test.acquire(bytes, alignment).empty()) << bytes << ", " << alignment;
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{3}, std::size_t{48}, SIZE_MAX})
    EXPECT_TRUE(under_test.acquire(16, alignment).empty()) << "alignment " << alignment;
}

} // namespace mete::test

#endif
