// The headers where exceptions and RTTI are disabled (CMakeLists.txt does that for this file).
//
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <vector>

#include <mete/adapt.hpp>
#include <mete/arena.hpp>
#include <mete/compose.hpp>
#include <mete/debug.hpp>
#include <mete/frame.hpp>
#include <mete/page_source.hpp>
#include <mete/source.hpp>
#include <mete/stack.hpp>

namespace {

TEST(no_exceptions, it_works) {
  mete::resource<mete::locked<mete::counted<mete::guarded<mete::arena>>>> resource;
  std::pmr::vector<int> numbers(&resource);
  for (int number = 0; number < 1000; ++number)
    numbers.push_back(number);
  EXPECT_EQ(numbers.back(), 999);
}

TEST(no_exceptions_death_test, exhaustion_aborts_with_its_line) {
  mete::arena level({.name = "level"});
  EXPECT_EXIT(static_cast<void>(level.allocate(SIZE_MAX)), testing::KilledBySignal(SIGABRT),
              "^mete: level cannot give 18446744073709551615 bytes");
}

TEST(no_exceptions_death_test, a_handler_may_do_something_else) {
  mete::arena level({.name = "level"});
  EXPECT_EXIT(
      {
        mete::set_exhaustion_handler([](const mete::exhaustion_report& report) {
          std::fprintf(stderr, "%s is full\n", report.allocator);
          std::_Exit(4);
        });
        static_cast<void>(level.allocate(SIZE_MAX));
      },
      testing::ExitedWithCode(4), "^level is full\n$");
}

} // namespace
