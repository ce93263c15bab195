// Units, pages, and giving them back: runs of the region itself, with its lock and its tables, and
// purging, which is a call to the OS.
//
// SPDX-License-Identifier: MIT
#include "page/region.hpp"

#include "os/memory.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

namespace mete::page {
namespace {

constexpr std::uint32_t some_tag = 77u << tag_owner_shift;

void units(benchmark::State& state) {
  os::initialise_memory();
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    const grant run = allocate_units(count, some_tag, nullptr);
    if (run.begin == nullptr)
      return state.SkipWithError("memory is out");
    release_units(run.begin, count);
  }
}

void pages(benchmark::State& state) {
  os::initialise_memory();
  const auto bytes = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    const grant run = allocate_pages(bytes, os::page_bytes);
    if (run.begin == nullptr || !release_pages(run.begin))
      return state.SkipWithError("memory is out, or a medium object was not known");
  }
}

// A run is taken, written and released; what is timed is the purge. In bytes per second.
void purge(benchmark::State& state) {
  os::initialise_memory();
  const auto count = static_cast<std::size_t>(state.range(0));
  const std::size_t bytes = count * unit_bytes;
  purge_runs_above(0);
  for (auto _ : state) {
    const grant run = allocate_units(count, some_tag, nullptr);
    if (run.begin == nullptr)
      return state.SkipWithError("memory is out");
    std::fill_n(run.begin, bytes, 'x');
    release_units(run.begin, count);
    const auto begin = std::chrono::steady_clock::now();
    const std::size_t purged = purge_runs_above(0);
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (purged != bytes)
      return state.SkipWithError("not all of it was purged");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

BENCHMARK(units)->Name("region/units")->Arg(1)->Arg(16);
BENCHMARK(pages)->Name("region/pages")->Arg(40'000);
BENCHMARK(purge)->Name("region/purge")->Arg(1)->Arg(64)->UseManualTime();

} // namespace
} // namespace mete::page
