// SPDX-License-Identifier: MIT
// calloc of memory that was never used and of memory that was: the first needs no zeroing if the
// allocator knows it to be fresh, the second does. Sizes from 16 bytes to 256 KiB; a large part of
// the blocks is left unwritten, as tables in programs are. Our own scenario.

#include "support.hpp"

namespace {

void check_zero(const unsigned char* block, std::size_t size) {
  const std::size_t step = size <= 512 ? 8 : 256;
  for (std::size_t at = 0; at + 8 <= size; at += step) {
    std::uint64_t word;
    std::memcpy(&word, block + at, sizeof word);
    bench::check(word == 0, "calloc gave memory that is not zero");
  }
  bench::check(block[size - 1] == 0, "calloc gave memory that is not zero");
}

void* make(std::size_t size, bool fill) {
  auto* block = static_cast<unsigned char*>(std::calloc(1, size));
  bench::check(block != nullptr, "calloc gave no memory");
  check_zero(block, size);
  if (fill) {
    std::memset(block, 0xa5, size);
  }
  return block;
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::size_t blocks = arguments.number("--blocks", 20'000, 10'000);
  const std::uint64_t count = arguments.number("--count", 1'500'000, 250'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::random_source random(seed);
  bench::table<void*> live(blocks);
  const auto next = [&] {
    const std::uint64_t size =
        random.below(100) < 95 ? random.log_uniform(16, 4096) : random.log_uniform(4096, 262144);
    return make(size, random.below(2) == 0);
  };
  for (void*& block : live) {
    block = next();
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    void*& block = live[random.below(blocks)];
    std::free(block);
    block = next();
  }
  for (void* block : live) {
    std::free(block);
  }
  return 0;
}
