// One heap used by many threads at once: they allocate in it and free what others allocated, by
// heap_free and by free(); threads end before the heap does; then it dies with all that is left.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

#include <atomic>
#include <thread>

namespace {

native mete;
constexpr std::size_t slots = 2048;
std::atomic<unsigned char*> exchange[slots];

// The first two bytes of a block tell its mark; all of it has that mark.
unsigned char* fresh(mete_heap* heap, random_source& random) {
  std::size_t size =
      2 + (random.below(200) == 0 ? random.size_between(14, 20) : random.size_between(3, 12));
  auto* block = static_cast<unsigned char*>(mete.heap_malloc(heap, size));
  CHECK(block != nullptr);
  std::memset(block, static_cast<int>(random.below(255) + 1), size < 500 ? size : 500);
  return block;
}

void drop(mete_heap* heap, unsigned char* block, std::size_t choice) {
  if (block == nullptr) {
    return;
  }
  CHECK_EQ(block[0], block[1]);
  switch (choice) {
  case 0:
    mete.heap_free(heap, block);
    break;
  case 1:
    free(block);
    break;
  default:
    block = static_cast<unsigned char*>(mete.heap_realloc(heap, block, 4000));
    CHECK_EQ(block[0], block[1]);
    free(block);
  }
}

void churn(mete_heap* heap, std::uint64_t seed) {
  random_source random{seed};
  for (int step = 0; step < 30000; ++step) {
    unsigned char* block = fresh(heap, random);
    drop(heap, exchange[random.below(slots)].exchange(block), random.below(3));
    if (step % 100 == 0) {
      free(malloc(static_cast<std::size_t>(step))); // the thread's own heap is at work beside it
    }
  }
}

void run_round(std::uint64_t round) {
  mete_heap* heap = mete.heap_create();
  CHECK(heap != nullptr);
  std::thread threads[6];
  for (std::size_t i = 0; i < std::size(threads); ++i) {
    threads[i] = std::thread(churn, heap, round * 100 + i);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::atomic<unsigned char*>& slot : exchange) {
    unsigned char* block = slot.exchange(nullptr);
    CHECK(block == nullptr || block[0] == block[1]);
  }
  mete.heap_destroy(heap); // with the last block of each slot in it
}

} // namespace

int main() {
  require_mete();
  mete = find_native();
  run_round(0);
  run_round(1);
  mete.collect();
  std::size_t before = resident_bytes();
  for (std::uint64_t round = 2; round < 8; ++round) {
    run_round(round);
  }
  mete.collect();
  printf("resident after 2 rounds %zu KiB, after 8 %zu KiB\n", before / kib,
         resident_bytes() / kib);
  CHECK_LE(resident_bytes(), before + 4 * mib); // a lost heap is about 12 MiB
  // A heap that one thread makes and another destroys, after the first has ended.
  for (int i = 0; i < 200; ++i) {
    mete_heap* heap = nullptr;
    std::thread([&heap] {
      heap = mete.heap_create();
      CHECK(mete.heap_malloc(heap, 100) != nullptr);
      CHECK(mete.heap_malloc(heap, 100 * kib) != nullptr);
    }).join();
    std::thread([heap] { mete.heap_destroy(heap); }).join();
  }
}
