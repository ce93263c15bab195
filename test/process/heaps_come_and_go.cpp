// Explicit heaps that come and go while decay rounds purge their pages, other threads free their
// blocks, and the process forks: contents survive, nothing hangs (SIGALRM turns that into a
// failure), and a child can use, make and destroy heaps. With slow purges most heaps are destroyed
// while some of their pages are claimed.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

#include <atomic>
#include <thread>

namespace {

native mete;
constexpr std::size_t blocks_per_heap = 400;
constexpr int forks = 60;

std::atomic<bool> stop{false};
std::atomic<unsigned> heaps_made{0};

struct owned_block {
  unsigned char* address;
  std::size_t size;
};

// Many small blocks, so that freeing most of them leaves pages to purge.
owned_block fresh(mete_heap* heap, random_source& random) {
  std::size_t size = random.below(100) == 0 ? random.size_between(14, 20) : 200 + random.below(900);
  auto* address = static_cast<unsigned char*>(mete.heap_malloc(heap, size));
  CHECK(address != nullptr);
  std::memset(address, static_cast<int>(size % 251), size);
  return {address, size};
}

void check_and_free(owned_block& block) {
  CHECK(all_bytes_are(block.address, block.size, static_cast<unsigned char>(block.size % 251)));
  free(block.address);
  block.address = nullptr;
}

void live(mete_heap* heap, random_source& random, bool with_helper) {
  static thread_local owned_block blocks[blocks_per_heap];
  owned_block* const mine = blocks;
  for (std::size_t i = 0; i < blocks_per_heap; ++i)
    mine[i] = fresh(heap, random);
  const auto free_most = [=] {
    for (std::size_t i = 0; i < blocks_per_heap; ++i)
      if (i % 16 != 0)
        check_and_free(mine[i]);
  };
  if (with_helper)
    std::thread(free_most).join(); // ends with nothing of the heap in its hands
  else
    free_most();
  if (random.below(2) == 0)
    sleep_ms(static_cast<long>(random.below(15))); // so that it decays
  for (std::size_t i = 0; i < blocks_per_heap; i += 16)
    CHECK(all_bytes_are(mine[i].address, mine[i].size,
                        static_cast<unsigned char>(mine[i].size % 251)));
}

void come_and_go(std::uint64_t seed) {
  random_source random{seed};
  while (!stop) {
    mete_heap* heap = mete.heap_create();
    CHECK(heap != nullptr);
    live(heap, random, random.below(4) == 0);
    mete.heap_destroy(heap); // with what is left
    ++heaps_made;
  }
}

void collect_now_and_then() {
  while (!stop) {
    mete.collect();
    sleep_ms(5);
  }
}

void fork_once(std::uint64_t round) {
  random_source random{round + 1000};
  mete_heap* heap = mete.heap_create();
  owned_block block = fresh(heap, random);
  pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    alarm(30);
    live(heap, random, true);
    check_and_free(block);
    mete.collect();
    mete.heap_destroy(heap);
    mete_heap* own = mete.heap_create();
    live(own, random, true);
    mete.heap_destroy(own);
    _exit(0);
  }
  check_and_free(block);
  mete.heap_destroy(heap);
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0); // 14 would be SIGALRM: a hang
}

} // namespace

int main() {
  require_mete();
  mete = find_native();
  alarm(170);
  std::thread threads[4];
  for (std::size_t i = 0; i < 3; ++i)
    threads[i] = std::thread(come_and_go, i + 1);
  threads[3] = std::thread(collect_now_and_then);
  for (std::uint64_t round = 0; round < forks; ++round)
    fork_once(round);
  stop = true;
  for (std::thread& thread : threads)
    thread.join();
  printf("%u heaps came and went\n", heaps_made.load());
  CHECK_GT(heaps_made.load(), 20);
}
