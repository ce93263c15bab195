// SPDX-License-Identifier: MIT
// After P.-A. Larson and M. Krishnan, "Memory Allocation for Long-Running Server Applications"
// (ISMM 1998): each thread replaces random blocks of its table, then starts a successor, hands the
// table over and dies. So blocks are freed by other threads than those that made them, and the
// heaps of dead threads must be used again. The amount of work is fixed, the time is the result.

#include "support.hpp"

#include <semaphore.h>

namespace {

constexpr std::uint64_t smallest = 8;
constexpr std::uint64_t largest = 1000;

struct chain {
  void** slots;
  std::size_t slot_count;
  bench::random_source random;
  std::uint64_t generations_left;
  std::uint64_t replacements;
  sem_t* ended;
  std::uint64_t bytes; // made and not yet freed by this chain
};

void* make_block(chain& work) {
  const std::uint64_t size = work.random.between(smallest, largest);
  work.bytes += size;
  return bench::marked_block::make(size);
}

void start_thread(chain& work);

void* enter(void* argument) {
  chain& work = *static_cast<chain*>(argument);
  for (std::uint64_t i = 0; i < work.replacements; ++i) {
    void*& slot = work.slots[work.random.below(work.slot_count)];
    work.bytes -= bench::marked_block::release(slot);
    slot = make_block(work);
  }
  if (--work.generations_left > 0) {
    start_thread(work);
  } else {
    sem_post(work.ended);
  }
  return nullptr;
}

void start_thread(chain& work) {
  pthread_attr_t detached;
  pthread_t thread;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  bench::check(pthread_create(&thread, &detached, enter, &work) == 0, "pthread_create");
  pthread_attr_destroy(&detached);
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(8);
  const std::size_t blocks = arguments.number("--blocks", 5000, 5000);
  const std::uint64_t generations = arguments.number("--generations", 15, 4);
  const std::uint64_t replacements = arguments.number("--replacements", 200'000, 100'000);
  const std::uint64_t seed = arguments.number("--seed", 4141, 4141);
  arguments.finish();

  sem_t ended;
  sem_init(&ended, 0, 0);
  bench::table<void*> slots(blocks * threads);
  bench::table<chain> chains(threads);
  for (unsigned i = 0; i < threads; ++i) {
    chain& each = chains[i];
    each = {slots.begin() + i * blocks,
            blocks,
            bench::random_source(seed + i),
            generations,
            replacements,
            &ended,
            0};
    for (std::size_t block = 0; block < blocks; ++block) {
      each.slots[block] = make_block(each);
    }
  }
  for (chain& each : chains) {
    start_thread(each);
  }
  for (unsigned i = 0; i < threads; ++i) {
    while (sem_wait(&ended) != 0) {
    }
  }
  for (chain& each : chains) {
    for (std::size_t block = 0; block < blocks; ++block) {
      each.bytes -= bench::marked_block::release(each.slots[block]);
    }
    bench::check(each.bytes == 0, "blocks do not have the sizes that they were made with");
  }
  return 0;
}
