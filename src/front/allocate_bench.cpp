// The fast paths: malloc and free of a size on one thread, without the interposed names around
// them.
//
// SPDX-License-Identifier: MIT
#include "front/allocate.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cstring>

namespace mete::front {
namespace {

// One block at a time: always the same one, from the cache.
void pair(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    void* const block = allocate(size);
    if (block == nullptr)
      return state.SkipWithError("memory is out");
    benchmark::DoNotOptimize(block);
    deallocate(block);
  }
}

// A hundred blocks, freed in the order of their making: still the cache, but other lines of it.
void hundred(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  std::array<void*, 100> blocks{};
  for (auto _ : state) {
    for (void*& block : blocks) {
      block = allocate(size);
      if (block == nullptr)
        return state.SkipWithError("memory is out");
      std::memcpy(block, &block, sizeof block);
    }
    for (void*& block : blocks) {
      if (std::memcmp(block, &block, sizeof block) != 0)
        return state.SkipWithError("a block was handed out twice");
      deallocate(block);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(blocks.size()));
}

// 1 KiB is the last size that is looked up; 40,000 bytes are a medium object, 1 MiB a large one.
BENCHMARK(pair)
    ->Name("allocate/pair")
    ->Arg(16)
    ->Arg(128)
    ->Arg(1024)
    ->Arg(8192)
    ->Arg(40000)
    ->Arg(1 << 20);
BENCHMARK(hundred)->Name("allocate/hundred")->Arg(16)->Arg(128)->Arg(1024);

} // namespace
} // namespace mete::front
