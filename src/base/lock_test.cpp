// SPDX-License-Identifier: MIT
#include "base/lock.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace mete {
namespace {

TEST(ranked_lock_test, threads_exclude_each_other) {
  ranked_lock lock{lock_rank::large};
  constexpr int threads = 4;
  constexpr int rounds = 20'000;
  long counted = 0; // not atomic: the lock is what makes it right
  std::atomic<int> inside{0};
  std::vector<std::thread> crowd;
  for (int index = 0; index < threads; ++index)
    crowd.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) {
        lock_guard guard(lock);
        ASSERT_EQ(inside.fetch_add(1), 0);
        ++counted;
        inside.fetch_sub(1);
      }
    });
  for (std::thread& each : crowd)
    each.join();
  EXPECT_EQ(counted, long{threads} * rounds);
}

TEST(ranked_lock_test, who_waits_long_sleeps_and_is_woken) {
  ranked_lock lock{lock_rank::large};
  std::atomic<int> arrived{0};
  lock.lock();
  std::vector<std::thread> sleepers;
  for (int index = 0; index < 3; ++index)
    sleepers.emplace_back([&] {
      lock_guard guard(lock);
      ++arrived;
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(arrived.load(), 0);
  lock.unlock();
  for (std::thread& each : sleepers)
    each.join();
  EXPECT_EQ(arrived.load(), 3);
}

TEST(ranked_lock_test, try_lock_does_not_wait) {
  ranked_lock lock{lock_rank::large};
  EXPECT_TRUE(lock.try_lock());
  std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
  lock.unlock();
  std::thread([&] {
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  }).join();
}

TEST(ranked_lock_test, unlock_guard_lets_others_in_for_a_scope) {
  ranked_lock lock{lock_rank::large};
  lock_guard guard(lock);
  {
    unlock_guard unlocked(lock);
    std::thread([&] { lock_guard other(lock); }).join();
  }
  std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
}

TEST(ranked_lock_test, the_child_of_a_fork_can_start_over) {
  ranked_lock lock{lock_rank::large};
  EXPECT_FALSE(lock.reset_in_child());                       // nobody holds it
  std::thread([&] { EXPECT_TRUE(lock.try_lock()); }).join(); // its holder is gone
  EXPECT_TRUE(lock.reset_in_child());
  lock.lock();
  EXPECT_FALSE(lock.reset_in_child()); // its own stays
  std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
  lock.unlock();
}

TEST(ranked_lock_test, higher_ranks_may_be_taken_inside_lower_ones) {
  ranked_lock pages{lock_rank::pages}, metadata{lock_rank::metadata};
  for (int round = 0; round < 2; ++round) {
    lock_guard outer(pages);
    lock_guard inner(metadata);
  }
}

#if defined(METE_DEBUG_CHECKS)

TEST(ranked_lock_death_test, a_lower_rank_inside_a_higher_one_is_found) {
  ranked_lock pages{lock_rank::pages}, metadata{lock_rank::metadata};
  EXPECT_DEATH(
      {
        lock_guard outer(metadata);
        lock_guard inner(pages);
      },
      "lock order: a lock of a higher rank is held");
}

TEST(ranked_lock_death_test, a_rank_taken_twice_is_found) {
  ranked_lock one{lock_rank::pages}, other{lock_rank::pages};
  EXPECT_DEATH(
      {
        lock_guard outer(one);
        lock_guard inner(other);
      },
      "lock order: a rank is taken twice");
}

TEST(ranked_lock_death_test, unlocking_what_is_not_held_is_found) {
  ranked_lock lock{lock_rank::pages};
  EXPECT_DEATH(lock.unlock(), "internal check failed");
}

TEST(ranked_lock_death_test, try_lock_may_take_any_order_but_counts_from_then_on) {
  ranked_lock registry{lock_rank::registry}, heap{lock_rank::heap}, pages{lock_rank::pages};
  {
    lock_guard outer(heap);
    ASSERT_TRUE(registry.try_lock()); // does not wait, so cannot be part of a deadlock
    lock_guard inner(pages);
    registry.unlock();
  }
  EXPECT_DEATH(
      {
        if (pages.try_lock())
          heap.lock();
      },
      "lock order: a lock of a higher rank is held");
}

TEST(ranked_lock_death_test, fork_may_hold_many_heaps_and_forget_them) {
  ranked_lock one{lock_rank::heap}, other{lock_rank::heap}, registry{lock_rank::registry};
  std::thread([&] {
    one.lock();
    other.lock();
    lock_order_reset();
    registry.lock();
    registry.unlock();
  }).join();
}

#else

TEST(ranked_lock_death_test, the_order_is_checked) {
  GTEST_SKIP() << "only builds with METE_DEBUG_CHECKS look at the order";
}

#endif

} // namespace
} // namespace mete
