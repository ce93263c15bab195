// SPDX-License-Identifier: MIT
#include "front/deferred_work.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace mete::front {
namespace {

TEST(deferred_work_test, it_runs_once) {
  static int sum;
  sum = 0;
  int one = 1;
  defer([](void* argument) { sum += *static_cast<int*>(argument); }, &one);
  const int ten = 10;
  defer_with_copy([](void* argument) { sum += *static_cast<int*>(argument); }, &ten, sizeof ten);
  EXPECT_TRUE(deferred_work_waits());
  EXPECT_EQ(sum, 0);
  run_deferred_work();
  EXPECT_EQ(sum, 11);
  EXPECT_FALSE(deferred_work_waits());
  run_deferred_work();
  EXPECT_EQ(sum, 11);
}

// A free that cannot be done yet must not end up behind the destruction of its heap, which somebody
// asked for meanwhile.
TEST(deferred_work_test, what_is_put_off_once_more_stays_in_front) {
  static std::string order;
  order.clear();
  defer(
      [](void*) {
        std::thread([] { defer([](void*) { order += "destroyed "; }, nullptr); }).join();
        defer([](void*) { order += "freed "; }, nullptr);
        EXPECT_FALSE(finish_deferred_work()) << "it is at work itself";
      },
      nullptr);
  run_deferred_work();
  EXPECT_EQ(order, "");
  EXPECT_TRUE(finish_deferred_work());
  EXPECT_EQ(order, "freed destroyed ");
}

} // namespace
} // namespace mete::front
