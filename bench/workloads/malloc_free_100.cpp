// SPDX-License-Identifier: MIT
// malloc(100) and free in turn, a million times and more: the first question asked of a memory pool
// ("how many system calls does a million allocations make?") and the shortest path of every
// allocator. Run it under `strace -c` to see the handful.

#include "support.hpp"

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t count = arguments.number("--count", 150'000'000, 20'000'000);
  arguments.finish();

  std::uint64_t sum = 0;
  const std::uint64_t start = bench::nanoseconds_now();
  for (std::uint64_t i = 0; i < count; ++i) {
    auto* block = static_cast<volatile unsigned char*>(std::malloc(100));
    bench::check(block != nullptr, "malloc gave no memory");
    block[0] = static_cast<unsigned char>(i);
    block[99] = static_cast<unsigned char>(i >> 8);
    sum += static_cast<std::uint64_t>(block[0]) + static_cast<std::uint64_t>(block[99]);
    std::free(const_cast<unsigned char*>(block));
  }
  const auto taken = static_cast<double>(bench::nanoseconds_now() - start);

  std::uint64_t expected = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    expected += (i & 255) + (i >> 8 & 255);
  }
  bench::check(sum == expected, "a block did not keep what was written");
  bench::metric("pair", taken / static_cast<double>(count), "ns");
  return 0;
}
