// SPDX-License-Identifier: MIT
// The comparison table that the read-me of almost every small allocator carries: 16 threads, each
// allocating n blocks of 16 + r % 1024 bytes, setting each block to zero and freeing it. Blocks are
// held in batches, so that more than the last freed block is asked for.

#include "support.hpp"

namespace {

constexpr std::size_t batch_blocks = 100;

void work(std::uint64_t seed, std::uint64_t count) {
  bench::random_source random(seed);
  unsigned char* blocks[batch_blocks];
  std::size_t sizes[batch_blocks];
  for (std::uint64_t done = 0; done < count; done += batch_blocks) {
    for (std::size_t i = 0; i < batch_blocks; ++i) {
      sizes[i] = 16 + random.next() % 1024;
      blocks[i] = static_cast<unsigned char*>(std::malloc(sizes[i]));
      bench::check(blocks[i] != nullptr, "malloc gave no memory");
      std::memset(blocks[i], 0, sizes[i]);
      blocks[i][sizes[i] - 1] = static_cast<unsigned char>(i);
    }
    for (std::size_t i = 0; i < batch_blocks; ++i) {
      bench::check(blocks[i][0] == 0 && blocks[i][sizes[i] - 1] == static_cast<unsigned char>(i),
                   "a block lost its contents");
      std::free(blocks[i]);
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(16);
  const std::uint64_t count = arguments.number("--count", 2'500'000, 500'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::run_threads(threads, [&](unsigned index) { work(seed + index * 1000003u, count); });
  return 0;
}
