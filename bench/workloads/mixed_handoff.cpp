// SPDX-License-Identifier: MIT
// Everything at once, in the manner of mimalloc's stress test (D. Leijen): several threads make
// blocks of 8 bytes to 2 MiB, most of them small, and swap each with a random place of one shared
// table; what comes out, mostly another thread's, is verified and freed.

#include "support.hpp"

#include <atomic>

namespace {

std::atomic<std::uint64_t> bytes_made;
std::atomic<std::uint64_t> bytes_freed;

// 8 bytes to 2 MiB; each step of four doublings is about 20 times rarer than the one before.
std::uint64_t random_size(bench::random_source& random) {
  const std::uint64_t kind = random.below(10'000);
  if (kind < 9'000) {
    return random.log_uniform(8, 512);
  }
  if (kind < 9'900) {
    return random.log_uniform(512, 16384);
  }
  return kind < 9'990 ? random.log_uniform(16384, 262144) : random.log_uniform(262144, 2097152);
}

void work(std::uint64_t seed, std::uint64_t count, bench::table<std::atomic<void*>>& shared) {
  bench::random_source random(seed);
  std::uint64_t made = 0;
  std::uint64_t freed = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t size = random_size(random);
    made += size;
    void* block = bench::marked_block::make(size);
    block = shared[random.below(shared.size())].exchange(block, std::memory_order_acq_rel);
    if (block != nullptr) {
      freed += bench::marked_block::release(block);
    }
  }
  bytes_made += made;
  bytes_freed += freed;
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(8);
  const std::size_t slots = arguments.number("--slots", 20'000, 20'000);
  const std::uint64_t count = arguments.number("--count", 8'000'000, 900'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::table<std::atomic<void*>> shared(slots);
  bench::run_threads(threads,
                     [&](unsigned index) { work(seed * 7919 + index, count / threads, shared); });
  for (std::atomic<void*>& slot : shared) {
    if (void* block = slot.load()) {
      bytes_freed += bench::marked_block::release(block);
    }
  }
  bench::check(bytes_made == bytes_freed, "blocks were lost between the threads");
  return 0;
}
