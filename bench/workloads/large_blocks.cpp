// SPDX-License-Identifier: MIT
// Large blocks of 1 to 32 MiB, a random one of a small set replaced in turn and every page of it
// written: the cost of mapping, of page faults and of what the allocator keeps for the next one
// (the question of the "malloc-large" programs of allocator suites).

#include "support.hpp"

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::size_t blocks = arguments.number("--blocks", 16, 12);
  const std::uint64_t count = arguments.number("--count", 1200, 50);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  constexpr std::uint64_t mebibyte = 1 << 20;
  bench::random_source random(seed);
  bench::table<void*> live(blocks);
  std::uint64_t bytes = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    void*& block = live[random.below(blocks)];
    if (block != nullptr) {
      bytes -= bench::marked_block::release(block);
    }
    const std::uint64_t size = random.between(1 * mebibyte, 32 * mebibyte);
    bytes += size;
    block = bench::marked_block::make(size);
  }
  for (void* block : live) {
    if (block != nullptr) {
      bytes -= bench::marked_block::release(block);
    }
  }
  bench::check(bytes == 0, "blocks do not have the sizes that they were made with");
  return 0;
}
