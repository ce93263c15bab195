// SPDX-License-Identifier: MIT
// After the description of glibc's benchtests/bench-malloc-simple: for each size, batches of 25,
// 100, 400 and 1600 blocks are allocated and then freed in the same order, first on the main
// thread, then on a second one (glibc: another arena). It shows how deep a thread cache reaches.

#include "support.hpp"

namespace {

constexpr std::size_t batches[] = {25, 100, 400, 1600};
constexpr std::size_t sizes[] = {8, 16, 32, 64, 128, 256, 512, 1024};

void run_batches(std::size_t size, std::size_t batch, std::uint64_t calls, void** blocks) {
  for (std::uint64_t round = 0; round < calls / batch; ++round) {
    for (std::size_t i = 0; i < batch; ++i) {
      blocks[i] = std::malloc(size);
      bench::check(blocks[i] != nullptr, "malloc gave no memory");
      *static_cast<std::uint64_t*>(blocks[i]) = i;
    }
    for (std::size_t i = 0; i < batch; ++i) {
      bench::check(*static_cast<std::uint64_t*>(blocks[i]) == i, "a block was handed out twice");
      std::free(blocks[i]);
    }
  }
}

void work(std::uint64_t calls) {
  bench::table<void*> blocks(1600);
  for (const std::size_t size : sizes) {
    for (const std::size_t batch : batches) {
      run_batches(size, batch, calls, blocks.begin());
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t calls = arguments.number("--calls", 600'000, 120'000);
  arguments.finish();

  work(calls);
  bench::run_threads(1, [&](unsigned) { work(calls); });
  return 0;
}
