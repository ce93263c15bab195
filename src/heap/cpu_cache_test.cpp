// Caches per processor: who may touch them, and that no block is ever handed out twice, whatever
// comes in between: other threads on the same processor, a move to another one, signals, and
// whoever revokes. ThreadSanitizer cannot see sequences, so the blocks themselves say who has them.
//
// SPDX-License-Identifier: MIT
#include "heap/cpu_cache.hpp"

#include "heap/cache.hpp"
#include "heap/heap_for_test.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <pthread.h>
#include <random>
#include <sched.h>
#include <set>
#include <thread>
#include <vector>

namespace mete::heap {
namespace {

std::vector<int> usable_cpus() {
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set))
      cpus.push_back(cpu);
  return cpus;
}

void move_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

void* allocate(unsigned class_index) {
  if (void* const block = pop_on_cpu(class_index); block != nullptr)
    return block;
  cpu_guard inside;
  cache_bin& bin = inside.cache().bins[class_index];
  return *bin.top != nullptr ? *bin.top-- : refill(*inside.get(), inside.cache(), class_index);
}

void release(unsigned class_index, void* block) {
  if (push_on_cpu(class_index, block))
    return;
  cpu_guard inside;
  overflow(*inside.get(), inside.cache(), class_index, block);
}

template <class Visit>
void for_each_cpu_heap(Visit visit) {
  for_each_heap([&](heap& h) {
    if (!h.serves_cpu())
      return;
    h.lock.revoke();
    visit(h);
    h.lock.restore();
  });
}

class cpu_cache_test : public testing::Test {
protected:
  cpu_cache_test() {
    os::initialise_memory();
    os::initialise_barriers();
    sched_getaffinity(0, sizeof before, &before);
  }
  void SetUp() override {
    if (!enable_cpu_caches())
      GTEST_SKIP() << "no restartable sequences here";
  }
  ~cpu_cache_test() override {
    sched_setaffinity(0, sizeof before, &before);
    // Twice, because blocks of one heap may lie in the other's cache.
    for (int round = 0; round < 2; ++round)
      for_each_cpu_heap([](heap& h) {
        empty_cache(h, *h.thread);
        settle(h);
      });
    for_each_cpu_heap([](heap& h) {
      h.check_invariants();
      check_cpu_cache(h);
      EXPECT_EQ(h.usage().block_bytes, 0u) << "every block is back in its slab";
    });
  }

  cpu_set_t before;
  const std::vector<int> cpus = usable_cpus();
};

TEST_F(cpu_cache_test, what_was_freed_last_is_reused_first) {
  move_to(cpus.front());
  void* const first = allocate(7);
  void* const second = allocate(7);
  ASSERT_TRUE(push_on_cpu(7, first));
  ASSERT_TRUE(push_on_cpu(7, second));
  EXPECT_EQ(pop_on_cpu(7), second);
  EXPECT_EQ(pop_on_cpu(7), first);
  release(7, first);
  release(7, second);
}

TEST_F(cpu_cache_test, each_processor_has_its_own) {
  if (cpus.size() < 2)
    GTEST_SKIP() << "one processor";
  move_to(cpus[0]);
  void* const block = allocate(9);
  release(9, block);
  move_to(cpus[1]);
  while (pop_on_cpu(9) != nullptr)
    ADD_FAILURE() << "nothing was freed here";
  void* const other = allocate(9);
  EXPECT_NE(other, block);
  EXPECT_NE(page::locate(other).tag->load(), page::locate(block).tag->load());
  release(9, other);
}

TEST_F(cpu_cache_test, a_full_array_takes_no_more) {
  move_to(cpus.front());
  std::vector<void*> blocks;
  for (int count = 0; count < 5000; ++count)
    blocks.push_back(allocate(3));
  while (!blocks.empty() && push_on_cpu(3, blocks.back()))
    blocks.pop_back();
  EXPECT_FALSE(blocks.empty());
  for (void* each : blocks)
    release(3, each);
}

TEST_F(cpu_cache_test, nothing_moves_while_somebody_is_inside_or_has_revoked) {
  move_to(cpus.front());
  void* const block = allocate(5);
  heap* own = nullptr;
  {
    cpu_guard inside;
    own = inside.get();
    EXPECT_EQ(pop_on_cpu(5), nullptr);
    EXPECT_FALSE(push_on_cpu(5, block));
  }
  own->lock.revoke();
  EXPECT_EQ(pop_on_cpu(5), nullptr);
  EXPECT_FALSE(push_on_cpu(5, block));
  own->lock.restore();
  EXPECT_TRUE(push_on_cpu(5, block));
}

TEST_F(cpu_cache_test, what_belongs_to_another_processor_goes_home) {
  if (cpus.size() < 2)
    GTEST_SKIP() << "one processor";
  move_to(cpus[0]);
  std::vector<void*> blocks;
  for (int count = 0; count < 3000; ++count)
    blocks.push_back(allocate(11));
  move_to(cpus[1]);
  for (void* each : blocks)
    release(11, each);
  // The destructor sees that they all came home.
}

// --- Whatever comes in between ----------------------------------------------------------------

// Says who has a block, in the block: `in_hands` and a number. What a block that was never handed
// out holds is anything else: other tests may have left it there.
constexpr std::uintptr_t in_hands = std::uintptr_t{0x5ea7ed} << 32;
std::atomic<std::uintptr_t>& holder_of(void* block) {
  return *static_cast<std::atomic<std::uintptr_t>*>(block);
}
bool is_held(std::uintptr_t holder) {
  return holder >> 32 == in_hands >> 32;
}

class crowd {
public:
  static constexpr unsigned classes = 3;

  // What one thread does until the others are to stop.
  void work(unsigned number) {
    std::mt19937 random(number);
    const std::vector<int> cpus = usable_cpus();
    void* held[classes][40] = {};
    while (!stop_.load(std::memory_order_relaxed)) {
      const auto index = static_cast<unsigned>(random() % classes);
      void*& place = held[index][random() % 40];
      replace(index, place, number);
      if (random() % 512 == 0)
        move_to(cpus[random() % cpus.size()]);
    }
    for (unsigned index = 0; index < classes; ++index)
      for (void*& place : held[index])
        if (place != nullptr)
          give_back(index, place, number);
  }

  void stop() { stop_.store(true, std::memory_order_relaxed); }
  long faults() const { return faults_.load(); }
  long replaced() const { return replaced_.load(); }

private:
  void replace(unsigned index, void*& place, std::uintptr_t number) {
    if (place != nullptr) {
      give_back(index, place, number);
      return;
    }
    place = allocate(index);
    faults_ += is_held(holder_of(place).exchange(in_hands + number));
    ++replaced_;
  }

  void give_back(unsigned index, void*& place, std::uintptr_t number) {
    faults_ += holder_of(place).exchange(0) != in_hands + number;
    release(index, place);
    place = nullptr;
  }

  std::atomic<bool> stop_{false};
  std::atomic<long> faults_{0};
  std::atomic<long> replaced_{0};
};

// The handler uses the same caches as what it interrupts. What it could not put back stays here.
std::atomic<unsigned> stranded_count{0};
void* stranded[1 << 14];
std::atomic<long> faults_in_handler{0};

void use_cache_in_handler(int) {
  void* const block = pop_on_cpu(0);
  if (block == nullptr)
    return;
  faults_in_handler += is_held(holder_of(block).load());
  if (!push_on_cpu(0, block))
    stranded[stranded_count++ % std::size(stranded)] = block;
}

// Threads that work, are moved, and get signals; caches that are emptied by revoking. Returns how
// often a block was found in two hands.
long run_crowd(unsigned threads, bool with_signals, bool with_revoking, std::chrono::seconds time) {
  crowd all;
  std::vector<std::thread> workers;
  for (unsigned number = 1; number <= threads; ++number)
    workers.emplace_back([&all, number] { all.work(number); });
  // Longer on a machine that is too busy to let them do anything.
  constexpr long enough = 1000;
  const auto end = std::chrono::steady_clock::now() + time;
  const auto latest = end + std::chrono::minutes(1);
  const auto goes_on = [&] {
    const auto now = std::chrono::steady_clock::now();
    return now < end || (now < latest && all.replaced() <= enough);
  };
  for (unsigned round = 0; goes_on(); ++round) {
    if (with_signals)
      for (std::thread& each : workers)
        pthread_kill(each.native_handle(), SIGUSR1);
    if (with_revoking)
      for_each_cpu_heap([&](heap& h) {
        if (round % 2 == 0)
          empty_cache(h, *h.thread);
        check_cpu_cache(h);
      });
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  all.stop();
  for (std::thread& each : workers)
    each.join();
  EXPECT_GT(all.replaced(), enough);
  return all.faults();
}

TEST_F(cpu_cache_test, many_threads_never_share_a_block) {
  EXPECT_EQ(run_crowd(24, false, false, std::chrono::seconds(2)), 0);
}

TEST_F(cpu_cache_test, signals_come_at_any_moment) {
  struct sigaction action {
  }, before_action{};
  action.sa_handler = use_cache_in_handler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &before_action);
  EXPECT_EQ(run_crowd(6, true, false, std::chrono::seconds(2)), 0);
  sigaction(SIGUSR1, &before_action, nullptr);
  EXPECT_EQ(faults_in_handler.load(), 0);
  ASSERT_LE(stranded_count.load(), std::size(stranded));
  while (stranded_count.load() != 0)
    release(0, stranded[--stranded_count]);
}

TEST_F(cpu_cache_test, revoking_excludes_every_sequence) {
  EXPECT_EQ(run_crowd(8, false, true, std::chrono::seconds(3)), 0);
}

} // namespace
} // namespace mete::heap
