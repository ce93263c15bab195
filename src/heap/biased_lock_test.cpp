// SPDX-License-Identifier: MIT
#include "heap/biased_lock.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace mete::heap {
namespace {

class biased_lock_test : public testing::Test {
public:
  biased_lock_test() { os::initialise_barriers(); }

  // The owner counts, while `others` revoke and count, too. Nothing but the lock protects the
  // counter. Returns what it should have come to less what it came to.
  static long lost_counts(unsigned others, bool in_two_steps) {
    constexpr long rounds_of_others = 1500;
    biased_lock lock;
    long counter = 0;
    std::atomic<unsigned> running{others};
    std::vector<std::thread> crowd;
    for (unsigned index = 0; index < others; ++index)
      crowd.emplace_back([&] {
        for (long round = 0; round < rounds_of_others; ++round) {
          if (in_two_steps) {
            lock.claim();
            os::heavy_barrier();
            lock.await_outside();
          } else {
            lock.revoke();
          }
          ++counter;
          lock.restore();
        }
        --running;
      });
    long own_rounds = 0;
    while (running.load(std::memory_order_relaxed) != 0) {
      owner_guard inside(lock);
      ++counter;
      ++own_rounds;
    }
    for (std::thread& each : crowd)
      each.join();
    return own_rounds + rounds_of_others * static_cast<long>(others) - counter;
  }
};

TEST_F(biased_lock_test, the_owner_comes_and_goes) {
  biased_lock lock;
  for (int round = 0; round < 1000; ++round)
    owner_guard inside(lock);
}

TEST_F(biased_lock_test, owner_and_one_other_exclude_each_other) {
  EXPECT_EQ(lost_counts(1, false), 0);
  EXPECT_EQ(lost_counts(1, true), 0);
}

TEST_F(biased_lock_test, owner_and_many_others_exclude_each_other) {
  EXPECT_EQ(lost_counts(3, false), 0);
}

TEST_F(biased_lock_test, it_holds_without_the_kernels_barrier) {
  const bool before = os::light_barrier_is_fence.exchange(true);
  EXPECT_EQ(lost_counts(2, false), 0);
  os::light_barrier_is_fence.store(before);
}

TEST_F(biased_lock_test, an_owner_that_is_kept_out_sleeps_and_is_woken) {
  biased_lock lock;
  lock.revoke();
  std::atomic<bool> entered{false};
  std::thread owner([&] {
    owner_guard inside(lock);
    entered = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(entered.load());
  lock.restore();
  owner.join();
  EXPECT_TRUE(entered.load());
}

TEST_F(biased_lock_test, revoking_awaits_the_owners_leaving) {
  biased_lock lock;
  std::atomic<bool> left{false}, entered{false};
  std::thread owner([&] {
    lock.enter();
    entered = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    left = true;
    lock.leave();
  });
  while (!entered)
    std::this_thread::yield();
  lock.revoke();
  EXPECT_TRUE(left.load());
  lock.restore();
  owner.join();
}

TEST_F(biased_lock_test, an_unowned_one_is_claimed_by_one_only) {
  biased_lock lock;
  ASSERT_TRUE(lock.try_claim_unowned());
  std::thread([&] { EXPECT_FALSE(lock.try_claim_unowned()); }).join();
  lock.restore();
  std::thread([&] {
    EXPECT_TRUE(lock.try_claim_unowned());
    lock.restore();
  }).join();
}

TEST_F(biased_lock_test, the_child_of_a_fork_can_start_over) {
  biased_lock lock;
  std::thread([&] {
    lock.enter();
    lock_order_reset(); // as the thread ends in the middle
  }).join();
  EXPECT_TRUE(lock.reset_in_child(false));
  EXPECT_FALSE(lock.reset_in_child(false));
  lock.revoke();
  EXPECT_FALSE(lock.reset_in_child(false)); // the caller's own revocation stays
  lock.restore();
  std::thread([&] {
    lock.revoke();
    lock_order_reset();
  }).join();
  EXPECT_TRUE(lock.reset_in_child(true));
  lock.enter();
  EXPECT_FALSE(lock.reset_in_child(true)); // and so does its own stay inside
  lock.leave();
}

// From now on membarrier fails, for all threads. False if this system has no filters.
bool refuse_membarrier(int error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{std::size(filter), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

// In a process of its own, because it holds for good.
void lose_membarrier_while_locks_are_taken(int error) {
  os::initialise_barriers();
  std::atomic<bool> refused{false};
  std::thread sandbox([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    refused = refuse_membarrier(error);
  });
  long lost = 0;
  for (int round = 0; round < 30; ++round)
    lost += biased_lock_test::lost_counts(3, round % 2 == 0);
  sandbox.join();
  const bool well = !refused || (lost == 0 && os::light_barrier_is_fence);
  std::_Exit(well ? 0 : 1);
}

TEST(biased_lock_death_test, it_holds_when_the_kernels_barrier_is_refused_later) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  for (const int error : {EPERM, ENOSYS})
    EXPECT_EXIT(lose_membarrier_while_locks_are_taken(error), testing::ExitedWithCode(0), "");
}

TEST(biased_lock_death_test, the_owner_never_nests) {
#if defined(METE_DEBUG_CHECKS)
  biased_lock lock;
  EXPECT_DEATH(
      {
        lock.enter();
        lock.enter();
      },
      "internal check failed");
#else
  GTEST_SKIP() << "only builds with METE_DEBUG_CHECKS look at this";
#endif
}

} // namespace
} // namespace mete::heap
