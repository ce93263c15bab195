// fork at any moment from a process whose threads allocate and free wildly: each of 200 children
// allocates, frees blocks of the parent, starts threads and exits. A lock that another thread held
// at the moment of the fork would hang the child, which SIGALRM turns into a failure.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <malloc.h>
#include <thread>

namespace {

std::atomic<bool> stop{false};

// Blocks that the threads hand to each other: frees from other threads are under way all the time.
constexpr std::size_t exchange_slots = 512;
std::atomic<void*> exchange[exchange_slots];

void churn(std::uint64_t seed) {
  random_source random{seed};
  while (!stop.load(std::memory_order_relaxed)) {
    std::size_t size =
        random.below(300) == 0 ? random.size_between(16, 22) : random.size_between(3, 14);
    void* block = random.below(4) == 0 ? aligned_alloc(64, size) : malloc(size);
    CHECK(block != nullptr);
    static_cast<char*>(block)[0] = 1;
    if (random.below(8) == 0) {
      block = realloc(block, size * 2);
    }
    free(exchange[random.below(exchange_slots)].exchange(block));
    if (random.below(5000) == 0) {
      std::thread([] { free(malloc(100)); }).join();
    }
    if (random.below(20000) == 0) {
      malloc_trim(0);
    }
  }
}

void allocate_all_sizes() {
  for (std::size_t size = 1; size < 4 * mib; size += 1 + size / 3) {
    char* block = static_cast<char*>(malloc(size));
    CHECK(block != nullptr);
    std::memset(block, 2, size < 100000 ? size : 100000);
    block = static_cast<char*>(realloc(block, size + size / 2));
    CHECK(block != nullptr);
    free(block);
  }
}

void live_as_child(void* const* parent_blocks, std::size_t count) {
  alarm(30);
  allocate_all_sizes();
  for (std::size_t i = 0; i < count; ++i) {
    free(parent_blocks[i]);
  }
  for (std::atomic<void*>& slot : exchange) {
    free(slot.exchange(nullptr)); // the other threads' blocks; these threads do not exist here
  }
  std::thread threads[2];
  for (std::thread& thread : threads) {
    thread = std::thread(allocate_all_sizes);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  malloc_trim(0);
}

void fork_once(int round) {
  void* blocks[200];
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = malloc(i * (i % 50 == 0 ? 2000 : 20));
  }
  pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    live_as_child(blocks, std::size(blocks));
    round % 2 == 0 ? std::exit(0) : _exit(0);
  }
  for (void* block : blocks) {
    free(block);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0); // 14 would be SIGALRM: a hang
}

} // namespace

int main() {
  require_mete();
  std::thread threads[3];
  for (std::size_t i = 0; i < std::size(threads); ++i) {
    threads[i] = std::thread(churn, i + 1);
  }
  std::thread forker([] { // half of the forks come from a thread, half from main, at once
    for (int round = 0; round < 100; ++round) {
      fork_once(round);
    }
  });
  for (int round = 0; round < 100; ++round) {
    fork_once(round);
  }
  forker.join();
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::atomic<void*>& slot : exchange) {
    free(slot.load());
  }
}
