// SPDX-License-Identifier: MIT
// malloc(size) and free in turn on a number of threads: 128 bytes (small), 4 KiB (medium: the size
// at which many allocators leave their thread cache) and 16 threads (more threads than cores). The
// same pairs as in the read-me tables of memory pools.

#include "support.hpp"

namespace {

void work(unsigned index, std::uint64_t count, std::size_t size) {
  for (std::uint64_t i = 0; i < count; ++i) {
    auto* block = static_cast<volatile unsigned char*>(std::malloc(size));
    bench::check(block != nullptr, "malloc gave no memory");
    block[0] = static_cast<unsigned char>(index);
    block[size - 1] = static_cast<unsigned char>(i);
    bench::check(block[0] == static_cast<unsigned char>(index), "a block is shared by two threads");
    std::free(const_cast<unsigned char*>(block));
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(1);
  const std::size_t size = arguments.number("--size", 128, 128);
  // Larger ones take longer, on most allocators.
  const bool large = size >= bench::page_bytes;
  const std::uint64_t count = large ? arguments.number("--count", 40'000'000, 8'000'000)
                                    : arguments.number("--count", 100'000'000, 20'000'000);
  arguments.finish();
  bench::check(size >= 2, "--size takes 2 or more");

  const std::uint64_t start = bench::nanoseconds_now();
  bench::run_threads(threads, [&](unsigned index) { work(index, count / threads, size); });
  const auto taken = static_cast<double>(bench::nanoseconds_now() - start);
  bench::metric("pair", taken / static_cast<double>(count), "ns");
  return 0;
}
