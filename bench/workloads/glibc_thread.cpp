// SPDX-License-Identifier: MIT
// After the description of glibc's benchtests/bench-malloc-thread: every thread keeps a working set
// of 1024 blocks and keeps replacing a random one; sizes run from 4 bytes to 32 KiB with a density
// that falls with the square of the size, as measured in real programs.

#include "support.hpp"

namespace {

constexpr std::size_t working_set = 1024;
constexpr double smallest = 4;
constexpr double largest = 32768;

// The inverse of the cumulative distribution of a density proportional to 1 / size^2.
std::size_t random_size(bench::random_source& random) {
  const double uniform = static_cast<double>(random.next() >> 11) * 0x1.0p-53;
  const double size = 1 / (1 / smallest + uniform * (1 / largest - 1 / smallest));
  return static_cast<std::size_t>(size);
}

void work(std::uint64_t seed, std::uint64_t count) {
  bench::random_source random(seed);
  bench::table<std::uint16_t> sizes(8192);
  for (std::uint16_t& size : sizes) {
    size = static_cast<std::uint16_t>(random_size(random));
  }
  bench::table<void*> blocks(working_set);
  std::uint64_t bytes = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = random.next();
    void*& block = blocks[number % working_set];
    if (block != nullptr) {
      bytes -= bench::marked_block::release(block);
    }
    const std::uint16_t size = sizes[(number >> 32) % sizes.size()];
    bytes += size;
    block = bench::marked_block::make(size);
  }
  for (void* block : blocks) {
    if (block != nullptr) {
      bytes -= bench::marked_block::release(block);
    }
  }
  bench::check(bytes == 0, "blocks do not have the sizes that they were made with");
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(8);
  const std::uint64_t count = arguments.number("--count", 40'000'000, 6'000'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::run_threads(threads, [&](unsigned index) { work(seed * 7919 + index, count / threads); });
  return 0;
}
