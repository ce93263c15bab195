// A source that fails at its k-th call, for every k.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_TOOLKIT_FAILING_SOURCE_HPP
#define METE_TEST_TOOLKIT_FAILING_SOURCE_HPP

#include <gtest/gtest.h>

#include <cstddef>
#include <span>

#include <mete/source.hpp>

namespace mete::test {

// Passes everything on, but for the call number `k` (from 0), or for all from that one on.
class failing_source final : public source {
public:
  enum class after { once, forever };
  failing_source(std::size_t k, after how) : k_(k), how_(how) {}

  bool has_failed() const { return calls_ > k_; }

private:
  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    const std::size_t call = calls_++;
    if (call == k_ || (call > k_ && how_ == after::forever))
      return {};
    return upstream_.acquire(bytes, alignment);
  }
  void do_release(std::span<std::byte> block, std::size_t alignment) noexcept override {
    upstream_.release(block, alignment);
  }

  heap_source upstream_;
  std::size_t k_;
  after how_;
  std::size_t calls_ = 0;
};

// Calls use(source) with a source that fails at its first call, at its second, and so on, until no
// call is left to fail. `use` builds its allocator on the source and destroys it: afterwards
// everything must have gone back.
template <class Use>
void for_every_failure(Use use) {
  for (const auto how : {failing_source::after::once, failing_source::after::forever}) {
    for (std::size_t k = 0;; ++k) {
      ASSERT_LT(k, 10'000u) << "no end of calls to the source";
      failing_source failing(k, how);
      use(static_cast<source&>(failing));
      EXPECT_EQ(failing.usage().acquired_bytes, 0u) << "not all went back, k = " << k;
      if (!failing.has_failed()) {
        EXPECT_GT(k, 0u) << "the source was never asked";
        break;
      }
      if (testing::Test::HasFailure())
        return;
    }
  }
}

} // namespace mete::test

#endif
