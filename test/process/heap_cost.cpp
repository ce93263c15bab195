// What an explicit heap costs beside other threads: no call to the system, however many threads
// there are and whatever they have freed. And a collection holds each thread's heap not more often
// than it needs: each time is a membarrier.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"
#include "system_calls.hpp"

#include <atomic>
#include <thread>

namespace {

native mete;
constexpr unsigned thread_count_here = 64;
constexpr unsigned blocks_per_heap = 20;
constexpr unsigned watched[] = {SYS_membarrier, SYS_madvise, SYS_mprotect, SYS_mmap,
                                SYS_munmap,     SYS_mremap,  SYS_futex,    SYS_sched_yield,
                                SYS_nanosleep,  SYS_clone};

unsigned calls() {
  unsigned sum = 0;
  for (unsigned number : watched)
    sum += system_calls::counted(number);
  return sum;
}

std::atomic<unsigned> ready{0};
std::atomic<bool> finish{false};
std::atomic<void*> handed_over[thread_count_here];

// Frees blocks of others, a heap's among them, and sleeps from then on.
void sleeper(unsigned number) {
  void* blocks[50];
  for (void*& block : blocks)
    block = malloc(100);
  free(handed_over[number].exchange(nullptr));
  for (void* block : blocks)
    free(block);
  ++ready;
  while (!finish)
    sleep_ms(20);
}

void use_a_heap(std::size_t round) {
  mete_heap* heap = mete.heap_create();
  CHECK(heap != nullptr);
  for (std::size_t i = 0; i < blocks_per_heap; ++i) {
    std::size_t size = (round + i) % 4 == 0 ? 3000 : 20 + 50 * i;
    std::memset(mete.heap_malloc(heap, size), 1, size);
  }
  mete.heap_destroy(heap);
}

void heaps_need_no_system_call() {
  for (std::size_t round = 0; round < 100; ++round)
    use_a_heap(round);
  const unsigned before = calls();
  const double begin = seconds_now();
  for (std::size_t round = 0; round < 2000; ++round)
    use_a_heap(round);
  printf("2000 heaps of %u blocks beside %u threads: %.2f us each, %u system calls\n",
         blocks_per_heap, thread_count_here, (seconds_now() - begin) / 2000 * 1e6,
         calls() - before);
  CHECK_LE(calls() - before, 20); // decay can come in between, not for each heap
}

// Every thread has a heap here, in which next to nothing is to be done.
void a_collection_holds_each_heap_twice() {
  mete.collect();
  const unsigned before = system_calls::counted(SYS_membarrier);
  mete.collect();
  const unsigned made = system_calls::counted(SYS_membarrier) - before;
  printf("membarrier in a collection with %u other threads: %u\n", thread_count_here, made);
  CHECK_LE(made, 2 * thread_count_here + 10);
}

} // namespace

int main() {
  require_mete();
  mete = find_native();
  mete_heap* heap = mete.heap_create();
  for (std::atomic<void*>& each : handed_over)
    each = mete.heap_malloc(heap, 100);
  std::thread threads[thread_count_here];
  for (unsigned i = 0; i < thread_count_here; ++i)
    threads[i] = std::thread(sleeper, i);
  while (ready != thread_count_here)
    sleep_ms(1);
  mete.heap_destroy(heap);
  system_calls::count(watched);
  heaps_need_no_system_call();
  a_collection_holds_each_heap_twice();
  finish = true;
  for (std::thread& thread : threads)
    thread.join();
}
