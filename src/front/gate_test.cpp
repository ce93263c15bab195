// SPDX-License-Identifier: MIT
#include "front/gate.hpp"

#include "front/allocate.hpp"
#include "front/deferred_work.hpp"
#include "front/emergency.hpp"
#include "front/initialise.hpp"
#include "os/system.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace mete::front {
namespace {

using std::chrono::milliseconds;

class gate_test : public testing::Test {
protected:
  gate_test() {
    initialise();
    deallocate(allocate(1)); // so that this thread has a heap
  }
};

TEST_F(gate_test, it_is_open_and_one_thread_is_inside_once) {
  gate_pass inside;
  EXPECT_TRUE(inside);
  EXPECT_TRUE(gate::is_inside());
  gate_pass again;
  EXPECT_FALSE(again) << "as in a signal handler: this thread would wait for itself";
}

TEST_F(gate_test, a_thread_without_a_heap_is_inside_once) {
  std::thread([] {
    gate_pass inside;
    EXPECT_TRUE(inside);
    EXPECT_TRUE(gate::is_inside());
    gate_pass again;
    EXPECT_FALSE(again);
  }).join();
}

// For ThreadSanitizer: nothing but the pointer to the word orders the two threads.
TEST_F(gate_test, a_thread_at_the_gate_sees_the_new_word_whole) {
  constexpr auto relaxed = std::memory_order_relaxed;
  std::atomic<bool> looks{false}, is_watched{false}, was_open{true};
  std::thread other([&] {
    for (bool last = false; !last;) {
      last = is_watched.load(relaxed);
      if (!gate::is_open())
        was_open.store(false, relaxed);
      looks.store(true, relaxed);
    }
  });
  while (!looks.load(relaxed))
    std::this_thread::sleep_for(milliseconds(1));
  gate::watch_for_clones();
  is_watched.store(true, relaxed);
  other.join();
  EXPECT_TRUE(was_open);
}

TEST_F(gate_test, closing_awaits_who_is_inside) {
  for (const bool with_heap : {false, true}) {
    std::atomic<bool> entered{false}, leaves{false};
    std::thread other([&] {
      if (with_heap)
        deallocate(allocate(1));
      gate_pass inside;
      ASSERT_TRUE(inside);
      entered = true;
      while (!leaves)
        std::this_thread::sleep_for(milliseconds(1));
    });
    while (!entered)
      std::this_thread::sleep_for(milliseconds(1));
    gate::close();
    EXPECT_FALSE(gate::await_rest(20));
    leaves = true;
    EXPECT_TRUE(gate::await_rest(60'000));
    gate::open_again();
    other.join();
  }
}

TEST_F(gate_test, who_closes_it_is_served_at_once_and_by_the_arena) {
  gate::close();
  ASSERT_TRUE(gate::await_rest(60'000));
  const std::uint32_t begin_ms = os::coarse_now_ms();
  std::vector<void*> blocks;
  for (int i = 0; i < 3000; ++i) {
    blocks.push_back(allocate(1000)); // the first of them come from the cache
    ASSERT_NE(blocks.back(), nullptr);
  }
  EXPECT_TRUE(is_emergency_block(blocks.back()));
  EXPECT_LT(os::coarse_now_ms() - begin_ms, 1000u) << "it waits for itself";
  gate::open_again();
  for (void* block : blocks)
    deallocate(block);
}

TEST_F(gate_test, others_wait_for_a_while_and_then_no_more) {
  gate::close();
  ASSERT_TRUE(gate::await_rest(60'000));
  std::thread([] {
    const std::uint32_t begin_ms = os::coarse_now_ms();
    void* const block = allocate(1000);
    EXPECT_TRUE(is_emergency_block(block));
    EXPECT_GE(os::coarse_now_ms() - begin_ms, patience_ms / 2) << "it did not wait";
    const std::uint32_t again_ms = os::coarse_now_ms();
    for (int i = 0; i < 100; ++i)
      deallocate(allocate(1000));
    EXPECT_LT(os::coarse_now_ms() - again_ms, 100 * patience_ms) << "each call waits";
    deallocate(block);
  }).join();
  gate::open_again();
}

std::thread start_waiting(std::atomic<bool>& entered) {
  return std::thread([&] {
    gate_pass inside{60'000};
    entered = bool(inside);
  });
}

TEST_F(gate_test, it_opens_for_those_who_wait) {
  gate::close();
  ASSERT_TRUE(gate::await_rest(60'000));
  std::atomic<bool> entered{false};
  std::thread other = start_waiting(entered);
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_FALSE(entered);
  gate::open_again();
  other.join();
  EXPECT_TRUE(entered);
}

// Otherwise threads that fork in turn would keep all others out.
TEST_F(gate_test, those_who_wait_come_before_the_next_fork) {
  constexpr int rounds = 30;
  int let_in = 0;
  for (int round = 0; round < rounds; ++round) {
    gate::close();
    ASSERT_TRUE(gate::await_rest(60'000));
    std::atomic<bool> entered{false};
    std::thread other = start_waiting(entered);
    std::this_thread::sleep_for(milliseconds(5));
    gate::open_again();
    gate::close();
    let_in += entered;
    gate::open_again();
    other.join();
  }
  EXPECT_GE(let_in, rounds / 6); // a busy machine may take longer than they are waited for
}

TEST_F(gate_test, it_stays_closed_for_the_last_of_several) {
  gate::close();
  std::atomic<bool> closed{false}, opens{false};
  std::thread other([&] {
    gate::close();
    closed = true;
    while (!opens)
      std::this_thread::sleep_for(milliseconds(1));
    gate::open_again();
  });
  while (!closed)
    std::this_thread::sleep_for(milliseconds(1));
  gate::open_again();
  std::thread([] { EXPECT_FALSE(gate_pass{}); }).join();
  opens = true;
  other.join();
  std::thread([] { EXPECT_TRUE(gate_pass{}); }).join();
}

// What is freed meanwhile comes home afterwards.
TEST_F(gate_test, frees_are_put_off) {
  std::vector<void*> blocks;
  for (int i = 0; i < 2000; ++i)
    blocks.push_back(allocate(1000));
  gate::close();
  ASSERT_TRUE(gate::await_rest(60'000));
  std::thread([&] {
    for (void* block : blocks)
      deallocate(block);
  }).join();
  EXPECT_TRUE(deferred_work_waits());
  gate::open_again();
  run_deferred_work();
  EXPECT_FALSE(deferred_work_waits());
}

// Nothing but the gate keeps the workers from the counter while it is closed.
TEST_F(gate_test, nobody_is_inside_while_it_is_closed) {
  std::atomic<bool> stop{false};
  std::atomic<long> inside_now{0}, passes{0};
  std::vector<std::thread> workers;
  for (int index = 0; index < 3; ++index)
    workers.emplace_back([&, with_heap = index != 0] {
      if (with_heap)
        deallocate(allocate(1));
      while (!stop) {
        gate_pass inside;
        if (!inside)
          continue;
        ++inside_now;
        ++passes;
        --inside_now;
      }
    });
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (passes == 0 && std::chrono::steady_clock::now() < give_up)
    std::this_thread::yield();
  for (int round = 0; round < 2000; ++round) {
    gate::close();
    if (gate::await_rest(60'000)) {
      ASSERT_EQ(inside_now.load(), 0);
      const long before = passes.load();
      std::this_thread::yield();
      ASSERT_EQ(passes.load(), before);
    }
    gate::open_again();
  }
  stop = true;
  for (std::thread& each : workers)
    each.join();
  EXPECT_GT(passes.load(), 0);
}

} // namespace
} // namespace mete::front
