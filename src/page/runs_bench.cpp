// Runs: best fit among few free runs and among many, and coalescing. No memory is behind them, so
// only the tables are timed.
//
// SPDX-License-Identifier: MIT
#include "page/runs.hpp"

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

namespace mete::page {
namespace {

constexpr std::uint32_t granules = 1 << 16;

// A range of which about half is in use, in `live` runs of 1 to 64 granules; a random one is
// replaced in turn.
void replace(benchmark::State& state) {
  const auto live = static_cast<std::size_t>(state.range(0));
  std::vector<run_entry> entries(granules + 1);
  std::vector<std::uint64_t> bits(granules / 64 + 2);
  run_allocator runs;
  runs.initialise(entries.data(), bits.data(), granules);
  runs.insert({0, granules}, 0);

  std::mt19937 random(1);
  std::vector<span> held(live);
  const auto take = [&](span& into) {
    run_grant grant{};
    into.count = 1 + random() % 64;
    const bool found = runs.allocate(into.count, 1, grant);
    into.first = grant.first;
    return found;
  };
  for (span& each : held)
    if (!take(each))
      return state.SkipWithError("the range is full");
  std::uint32_t now = 0;
  for (auto _ : state) {
    span& chosen = held[random() % live];
    runs.release(chosen, ++now);
    if (!take(chosen))
      return state.SkipWithError("the range is full");
  }
  for (const span& each : held)
    runs.release(each, ++now);
  if (runs.free_granules() != granules)
    state.SkipWithError("granules were lost");
}

BENCHMARK(replace)->Name("runs/replace")->Arg(10)->Arg(1000);

} // namespace
} // namespace mete::page
