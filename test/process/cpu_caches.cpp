// Caches per processor, as processes see them: a storm of threads that are moved from processor to
// processor and get signals while the process forks; what hundreds of sleeping threads cost; and
// the one line where there are no restartable sequences.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <pthread.h>
#include <sched.h>
#include <thread>
#include <vector>

namespace {

constexpr unsigned storm_threads = 24;
constexpr std::size_t slots = 64;

std::atomic<bool> stop{false};
std::atomic<unsigned> signals{0};

void move_to_any_of(const cpu_set_t& all, random_source& random) {
  std::size_t left = random.below(static_cast<std::size_t>(CPU_COUNT(&all)));
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &all) && left-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
  }
}

// The first and the last byte of a block say whose it is.
void replace(unsigned char*& block, std::size_t& size, unsigned char mark, random_source& random) {
  if (block != nullptr) {
    CHECK_EQ(block[0], mark);
    CHECK_EQ(block[size - 1], mark);
    free(block);
  }
  size = random.size_between(3, 12);
  block = static_cast<unsigned char*>(malloc(size));
  CHECK(block != nullptr);
  block[0] = block[size - 1] = mark;
}

void rage(unsigned number) {
  cpu_set_t all;
  CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  random_source random{number};
  unsigned char* blocks[slots] = {};
  std::size_t sizes[slots];
  while (!stop.load(std::memory_order_relaxed)) {
    const std::size_t slot = random.below(slots);
    replace(blocks[slot], sizes[slot], static_cast<unsigned char>(number + 1), random);
    if (random.below(256) == 0) {
      move_to_any_of(all, random);
    }
  }
  for (unsigned char* block : blocks) {
    free(block);
  }
}

void storm() {
  struct sigaction action {};
  action.sa_handler = [](int) { ++signals; };
  CHECK_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  std::thread threads[storm_threads];
  for (unsigned number = 0; number < storm_threads; ++number) {
    threads[number] = std::thread(rage, number);
  }
  for (int round = 0; round < 60; ++round) {
    for (std::thread& each : threads) {
      pthread_kill(each.native_handle(), SIGUSR1);
    }
    child_result child = run_child([] {
      std::thread others[4];
      stop = false;
      for (unsigned number = 0; number < 4; ++number) {
        others[number] = std::thread(rage, number);
      }
      sleep_ms(5);
      stop = true;
      for (std::thread& each : others) {
        each.join();
      }
    });
    CHECK(child.exited_with(0));
  }
  stop = true;
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK_GT(signals.load(), storm_threads);
}

// Each thread makes and frees blocks of many sizes, keeps none and falls asleep.
void sleepers_cost_little() {
  constexpr unsigned count = 300;
  std::atomic<unsigned> asleep{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  threads.reserve(count);
  const std::size_t before = resident_bytes();
  for (unsigned number = 0; number < count; ++number) {
    threads.emplace_back([&, number] {
      random_source random{number};
      for (int round = 0; round < 2000; ++round) {
        const std::size_t size = random.size_between(3, 12);
        void* block = malloc(size);
        std::memset(block, 1, size);
        free(block);
      }
      ++asleep;
      while (!over) {
        sleep_ms(20);
      }
    });
  }
  while (asleep != count) {
    sleep_ms(10);
  }
  const std::size_t grown = resident_bytes() - before;
  over = true;
  for (std::thread& each : threads) {
    each.join();
  }
  printf("%u sleeping threads: %zu KiB each, stacks included\n", count, grown / count / kib);
  CHECK_LE(grown / count, 40 * kib); // 30 are the stack and the C library's; a heap needs more
}

// glibc does not register, as before 2.35.
void says_what_is_missing() {
  setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
  child_result result = run_child([] { execute_self("work"); });
  CHECK(result.exited_with(0));
  CHECK_EQ(result.lines_with(""), 1);
  CHECK_EQ(result.lines_with("cpu_caches=1 is ignored"), 1);
}

} // namespace

int main(int count, char**) {
  require_mete();
  if (count > 1) {
    free(malloc(100));
    return 0;
  }
  child_result probe = run_child([] { execute_self("work"); });
  if (probe.says("cpu_caches=1 is ignored")) {
    check_skip("no restartable sequences here");
  }
  CHECK_EQ(probe.length, 0);
  sleepers_cost_little();
  storm();
  says_what_is_missing();
}
