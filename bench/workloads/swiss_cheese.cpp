// SPDX-License-Identifier: MIT
// 100,000 blocks of 1000 bytes, 90 % of them freed at random, then silence: the case that every
// text on fragmentation draws. What is still resident after 1, 3 and 10 seconds is what the
// allocator cannot, or does not, give back to the system.

#include "support.hpp"

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::size_t blocks = arguments.number("--blocks", 100'000, 100'000);
  const std::size_t size = arguments.number("--size", 1000, 1000);
  const std::uint64_t seconds = arguments.number("--seconds", 10, 1);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::random_source random(seed);
  bench::table<void*> live(blocks);
  for (void*& block : live) {
    block = bench::marked_block::make(size);
    std::memset(static_cast<char*>(block) + bench::marked_block::minimum_bytes, 0x5a,
                size - bench::marked_block::minimum_bytes - 1);
  }
  const double peak = bench::resident_bytes();
  bench::metric("rss_peak", bench::mebibytes(peak), "MiB");

  for (std::size_t i = 0; i < blocks; ++i) {
    if (random.below(10) != 0) {
      bench::marked_block::release(live[i]);
      live[i] = nullptr;
    }
  }
  for (std::uint64_t second = 1; second <= seconds; ++second) {
    bench::sleep_milliseconds(1000);
    if (second == 1 || second == 3 || second == 10) {
      const double now = bench::resident_bytes();
      char name[32];
      std::snprintf(name, sizeof name, "held_%us", static_cast<unsigned>(second));
      bench::metric(name, 100 * now / peak, "%");
    }
  }
  for (void* block : live) {
    if (block != nullptr) {
      bench::marked_block::release(block);
    }
  }
  return 0;
}
