// Requests that every allocator answers alike: each alignment, and what cannot be.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_TOOLKIT_REQUESTS_HPP
#define METE_TEST_TOOLKIT_REQUESTS_HPP

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <mete/error.hpp>

namespace mete::test {

// Blocks of `size` bytes with alignments from 1 to `max_alignment`.
template <class A>
void expect_alignments(A& under_test, std::size_t size, std::size_t max_alignment = 4096) {
  for (std::size_t alignment = 1; alignment <= max_alignment; alignment *= 2) {
    void* const block = under_test.try_allocate(size, alignment);
    ASSERT_NE(block, nullptr) << size << " bytes aligned to " << alignment;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u) << alignment;
    std::memset(block, 0xa5, size);
    under_test.deallocate(block, size, alignment);
  }
}

// Sizes whose sums wrap around, and alignments that are none.
template <class A>
void expect_impossible_requests_fail(A& under_test) {
  for (const std::size_t size :
       {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4095, SIZE_MAX - 65535, SIZE_MAX / 2 + 1})
    for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2)
      EXPECT_EQ(under_test.try_allocate(size, alignment), nullptr) << size << ", " << alignment;
  for (const std::size_t alignment :
       {std::size_t{0}, std::size_t{3}, std::size_t{24}, SIZE_MAX, SIZE_MAX / 2 + 1})
    EXPECT_EQ(under_test.try_allocate(1, alignment), nullptr) << "alignment " << alignment;
}

// allocate() throws, and what it throws names the allocator and the size.
template <class A>
void expect_exhaustion_is_told(A& under_test, std::size_t size, std::size_t alignment = 1) {
  try {
    static_cast<void>(under_test.allocate(size, alignment));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const out_of_memory& thrown) {
    const std::string text = thrown.what();
    EXPECT_NE(text.find(under_test.name()), std::string::npos) << text;
    EXPECT_NE(text.find(std::to_string(size)), std::string::npos) << text;
    EXPECT_EQ(thrown.report().size, size);
    EXPECT_EQ(thrown.report().alignment, alignment);
  }
}

} // namespace mete::test

#endif
