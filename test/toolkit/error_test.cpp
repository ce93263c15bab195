// SPDX-License-Identifier: MIT
#include <mete/error.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <mete/allocator.hpp>

namespace {

// Gives nothing.
class empty : public mete::allocator_base<empty> {
public:
  explicit empty(const char* name) : allocator_base(name) {}
  void* try_allocate(std::size_t, std::size_t) noexcept { return nullptr; }
  void deallocate(void* block, std::size_t, std::size_t) noexcept {
    report_misuse("deallocate", block, "nothing was ever given");
  }
  [[nodiscard]] bool owns(const void*) const noexcept { return false; }
  [[nodiscard]] mete::allocator_usage usage() const noexcept { return {10, 20, 15, largest}; }
  std::size_t largest = 12;
};
static_assert(mete::allocator<empty>);

// As a wrapper does: its name is that of what it wraps.
class renamed : public mete::allocator_base<renamed> {
public:
  renamed() : allocator_base(nullptr) {}
  void* try_allocate(std::size_t, std::size_t) noexcept { return nullptr; }
  [[nodiscard]] mete::allocator_usage usage() const noexcept { return {}; }
  [[nodiscard]] const char* name() const noexcept { return "inner"; }
};

template <class A>
std::string text_of_exhaustion(A& under_test, std::size_t size, std::size_t alignment) {
  try {
    static_cast<void>(under_test.allocate(size, alignment));
  } catch (const std::bad_alloc& thrown) {
    return thrown.what();
  }
  return "nothing was thrown";
}

TEST(error, exhaustion_says_who_and_how_full) {
  empty nodes("nodes");
  EXPECT_EQ(text_of_exhaustion(nodes, 100, 8),
            "mete: nodes cannot give 100 bytes aligned to 8: 10 of 20 bytes in use, the largest "
            "request so far had 100");
  nodes.largest = 300;
  EXPECT_EQ(text_of_exhaustion(nodes, 100, 8),
            "mete: nodes cannot give 100 bytes aligned to 8: 10 of 20 bytes in use, the largest "
            "request so far had 300");
  nodes.largest = 0;
  EXPECT_EQ(text_of_exhaustion(nodes, 100, 8),
            "mete: nodes cannot give 100 bytes aligned to 8: 10 of 20 bytes in use");
}

TEST(error, a_wrapper_has_the_name_of_what_it_wraps) {
  renamed wrapper;
  EXPECT_EQ(text_of_exhaustion(wrapper, 1, 1).find("mete: inner cannot give"), 0u);
}

TEST(error, a_long_name_is_cut_and_nothing_else_happens) {
  const std::string name(1000, 'x');
  empty nodes(name.c_str());
  const std::string text = text_of_exhaustion(nodes, 1, 1);
  EXPECT_EQ(text.size(), mete::detail::report_bytes - 1);
}

mete::exhaustion_report seen;

TEST(error, the_exhaustion_handler_is_told_before_the_throw) {
  seen = {};
  const auto before =
      mete::set_exhaustion_handler([](const mete::exhaustion_report& report) { seen = report; });
  EXPECT_EQ(before, nullptr);
  empty nodes("nodes");
  EXPECT_THROW(static_cast<void>(nodes.allocate(77, 32)), mete::out_of_memory);
  EXPECT_STREQ(seen.allocator, "nodes");
  EXPECT_EQ(seen.size, 77u);
  EXPECT_EQ(seen.alignment, 32u);
  EXPECT_EQ(seen.used_bytes, 10u);
  EXPECT_EQ(seen.reserved_bytes, 20u);
  EXPECT_EQ(seen.largest_request_bytes, 77u);
  EXPECT_NE(mete::set_exhaustion_handler(nullptr), nullptr);
}

TEST(error, try_allocate_tells_nobody) {
  seen = {};
  mete::set_exhaustion_handler([](const mete::exhaustion_report& report) { seen = report; });
  empty nodes("nodes");
  EXPECT_EQ(nodes.try_allocate(1, 1), nullptr);
  EXPECT_EQ(seen.allocator, nullptr);
  mete::set_exhaustion_handler(nullptr);
}

TEST(error_death_test, misuse_ends_the_process_with_one_line) {
  empty nodes("nodes");
  int not_a_block = 0;
  EXPECT_EXIT(nodes.deallocate(&not_a_block, 4, 4), testing::KilledBySignal(SIGABRT),
              "^mete: nodes: deallocate of 0x[0-9a-f]+: nothing was ever given\n$");
}

TEST(error_death_test, the_misuse_handler_comes_first) {
  empty nodes("nodes");
  EXPECT_EXIT(
      {
        mete::set_misuse_handler([](const mete::misuse_report& report) {
          std::fprintf(stderr, "handled: %s, %s\n", report.allocator, report.known);
          std::_Exit(3);
        });
        nodes.deallocate(nullptr, 1, 1);
      },
      testing::ExitedWithCode(3), "^handled: nodes, nothing was ever given\n$");
}

} // namespace
