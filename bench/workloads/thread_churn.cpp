// SPDX-License-Identifier: MIT
// Threads created and joined by the ten thousand, each leaving half of its blocks to the main
// thread: what a dead thread's heap holds must be used by the next one, and nothing may be stranded
// (the reason for glibc's and Hoard's heap reuse). Prints how far memory grew after the first
// tenth.

#include "support.hpp"

#include <atomic>

namespace {

constexpr std::size_t blocks_per_thread = 64;

std::atomic<std::uint64_t> bytes; // made and not yet freed

void* make_block(bench::random_source& random) {
  const std::uint64_t size = random.between(16, 2000);
  bytes += size;
  return bench::marked_block::make(size);
}

void allocate_blocks(std::uint64_t seed, void** kept) {
  bench::random_source random(seed);
  void* own[blocks_per_thread / 2];
  for (std::size_t i = 0; i < blocks_per_thread / 2; ++i) {
    own[i] = make_block(random);
    kept[i] = make_block(random);
  }
  for (void* block : own) {
    bytes -= bench::marked_block::release(block);
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned at_once = arguments.threads(4);
  const std::uint64_t total = arguments.number("--total", 60'000, 5'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::table<void*> kept(at_once * blocks_per_thread / 2);
  double early = 0;
  for (std::uint64_t started = 0; started < total; started += at_once) {
    bench::run_threads(at_once, [&](unsigned index) {
      allocate_blocks(seed + started + index, &kept[index * blocks_per_thread / 2]);
    });
    for (void* block : kept) {
      bytes -= bench::marked_block::release(block);
    }
    if (early == 0 && started >= total / 10) {
      early = bench::resident_bytes();
    }
  }
  bench::check(bytes == 0, "blocks do not have the sizes that they were made with");
  bench::metric("growth", (bench::resident_bytes() - early) / 1024, "KiB");
  return 0;
}
