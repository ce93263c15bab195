// 10,000 short threads do not make the process grow: heaps outlive their threads and are taken
// over, and what a thread left in its caches and outbox reaches its owner.
//
// The bound: between 1,000 and 10,000 threads, resident memory may grow by 1 MiB. Losing as little
// as 128 bytes per thread (a cache line pair; the smallest thread state is eight times that) makes
// 1.1 MiB, losing one block of each size used here 60 MiB, one 4 KiB page 35 MiB.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <thread>

namespace {

constexpr std::size_t at_once = 8;
constexpr std::size_t kept_per_thread = 40;

// Blocks that the threads of one batch leave behind; those of the next free them, when the threads
// that allocated them are dead.
void* left_behind[2][at_once][kept_per_thread];

void live_shortly(std::size_t batch, std::size_t place) {
  for (std::size_t size = 8; size < 100000; size += 1 + size / 4) {
    char* block = static_cast<char*>(malloc(size));
    CHECK(block != nullptr);
    block[0] = block[size - 1] = 1;
    free(block);
  }
  void** mine = left_behind[batch % 2][place];
  void** inherited = left_behind[(batch + 1) % 2][place];
  for (std::size_t i = 0; i < kept_per_thread; ++i) {
    free(inherited[i]);
    inherited[i] = nullptr;
    mine[i] = malloc(16 + i * i * 3);
    std::memset(mine[i], 3, 16);
  }
}

std::size_t batch = 0;

void run_threads(std::size_t count) {
  std::thread threads[at_once];
  for (std::size_t done = 0; done < count; done += at_once, ++batch) {
    for (std::size_t place = 0; place < at_once; ++place) {
      threads[place] = std::thread(live_shortly, batch, place);
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }
}

// What is live or lost; what merely waits for its decay is given back first.
std::size_t bytes_not_given_back() {
  malloc_trim(0);
  return resident_bytes();
}

} // namespace

int main() {
  require_mete();
  run_threads(1000);
  std::size_t after_1000 = bytes_not_given_back();
  run_threads(9000);
  std::size_t after_10000 = bytes_not_given_back();
  printf("resident after 1,000 threads %zu KiB, after 10,000 %zu KiB\n", after_1000 / kib,
         after_10000 / kib);
  CHECK_LE(after_10000, after_1000 + mib);
}
