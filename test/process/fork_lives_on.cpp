// A child of a fork from among threads lives long: it starts threads, forks in turn, gives memory
// back, and starts the background thread again. Threads end while others fork, so that the heap
// for threads without one is used first in the midst of a fork.
//
// SPDX-License-Identifier: MIT
#include "every_kind.hpp"
#include "process.hpp"

#include <atomic>
#include <thread>

namespace {

std::atomic<bool> stop{false};

// Frees and allocates in the last round of destructors, after mete's own: such a thread has no heap
// any more.
pthread_key_t late_key;
void allocate_late(void* value) {
  const auto round = reinterpret_cast<std::uintptr_t>(value);
  if (round < PTHREAD_DESTRUCTOR_ITERATIONS) {
    pthread_setspecific(late_key, reinterpret_cast<void*>(round + 1));
  }
  void* blocks[20];
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = malloc(1 + i * 50);
    CHECK(blocks[i] != nullptr);
  }
  for (void* block : blocks) {
    free(block);
  }
}

void end_late() {
  free(malloc(100)); // mete's key comes before
  pthread_setspecific(late_key, reinterpret_cast<void*>(1));
}

void start_and_end_threads() {
  while (!stop) {
    std::thread(end_late).join();
  }
}

void wait_for(pid_t child) {
  int status = 0;
  CHECK_GE(child, 0);
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

// Each in a process in which no thread has ended before.
void fork_while_threads_end() {
  for (int round = 0; round < 40; ++round) {
    const child_result result = run_child([] {
      std::thread threads[] = {std::thread(start_and_end_threads),
                               std::thread(start_and_end_threads)};
      for (int forks = 0; forks < 5; ++forks) {
        const pid_t child = fork();
        if (child == 0) {
          alarm(60);
          std::thread(end_late).join();
          use_every_kind();
          _exit(0);
        }
        wait_for(child);
      }
      stop = true;
      for (std::thread& thread : threads) {
        thread.join();
      }
    });
    if (!result.exited_with(0)) {
      describe("threads that end", result);
    }
    CHECK(result.exited_with(0));
  }
}

void await_resident_below(std::size_t bound) {
  for (int waited_ms = 0; resident_bytes() > bound; waited_ms += 50) {
    CHECK_LT(waited_ms, 30000);
    sleep_ms(50);
  }
}

void generation(int left) {
  alarm(100);
  std::atomic<bool> done{false};
  std::thread threads[2];
  for (std::thread& thread : threads) {
    thread = std::thread([&] {
      do {
        use_every_kind();
        sleep_ms(1);
      } while (!done);
    });
  }
  sleep_ms(2);
  if (left > 0) {
    const pid_t child = fork();
    if (child == 0) {
      generation(left - 1);
      _exit(0);
    }
    wait_for(child);
  }
  // The background thread is for processes with threads: one that sleeps will do.
  std::atomic<bool> slept{false};
  std::thread sleeper([&] {
    free(malloc(100));
    while (!slept) {
      sleep_ms(5);
    }
  });
  done = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  malloc_trim(0);
  const std::size_t before = resident_bytes();
  burst(200 * mib);
  await_resident_below(before + 32 * mib);
  slept = true;
  sleeper.join();
}

} // namespace

int main() {
  require_mete();
  CHECK_EQ(pthread_key_create(&late_key, allocate_late), 0);
  fork_while_threads_end();
  generation(4);
}
