// SPDX-License-Identifier: MIT
// One thread keeps a large set of blocks alive and keeps replacing a random one: the heap is cold,
// so every cache line that malloc or free touches of its own accord is a miss. The idea is that of
// the "random free and allocate" tests used since Zorn and Grunwald's synthetic models (1992).
// Prints the time of one replacement, without making the set.

#include "support.hpp"

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::size_t blocks = arguments.number("--blocks", 500'000, 200'000);
  const std::uint64_t count = arguments.number("--count", 8'000'000, 1'000'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::random_source random(seed);
  bench::table<void*> live(blocks);
  std::uint64_t bytes = 0;
  const auto make = [&] {
    const std::uint64_t size = random.log_uniform(16, 512);
    bytes += size;
    return bench::marked_block::make(size);
  };
  for (void*& block : live) {
    block = make();
  }
  const std::uint64_t start = bench::nanoseconds_now();
  for (std::uint64_t i = 0; i < count; ++i) {
    void*& block = live[random.below(blocks)];
    bytes -= bench::marked_block::release(block);
    block = make();
  }
  const auto taken = static_cast<double>(bench::nanoseconds_now() - start);
  for (void* block : live) {
    bytes -= bench::marked_block::release(block);
  }
  bench::check(bytes == 0, "blocks do not have the sizes that they were made with");
  bench::metric("replacement", taken / static_cast<double>(count), "ns");
  return 0;
}
