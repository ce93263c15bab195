// Refill and flush: what a thread's cache does when it is empty, and when it is full. Each is timed
// over a few thousand blocks, of which most are pops and pushes; the figure is the time per block.
//
// SPDX-License-Identifier: MIT
#include "heap/cache.hpp"

#include "heap/registry.hpp"
#include "os/memory.hpp"

#include <benchmark/benchmark.h>

#include <chrono>
#include <vector>

namespace mete::heap {
namespace {

constexpr unsigned block_count = 8192;

// A heap whose thread is a state of the benchmark's own.
class cached_heap {
public:
  cached_heap() {
    os::initialise_memory();
    for (cache_bin& bin : thread_.bins)
      bin.top = empty_bin;
    thread_.tag = tag_of_nobody;
    heap_ = acquire_heap(&thread_);
    owner_guard inside(heap_->lock);
    adopt_cache(*heap_, thread_);
  }
  ~cached_heap() {
    {
      owner_guard inside(heap_->lock);
      empty_cache(*heap_, thread_);
    }
    abandon_heap(*heap_);
  }
  cached_heap(const cached_heap&) = delete;
  cached_heap& operator=(const cached_heap&) = delete;

  void* pop(unsigned class_index) {
    cache_bin& bin = thread_.bins[class_index];
    if (*bin.top != nullptr)
      return *bin.top--;
    owner_guard inside(heap_->lock);
    return refill(*heap_, thread_, class_index);
  }
  void push(unsigned class_index, void* block) {
    cache_bin& bin = thread_.bins[class_index];
    if (!is_full(bin)) {
      *++bin.top = block;
      return;
    }
    owner_guard inside(heap_->lock);
    overflow(*heap_, thread_, class_index, block);
  }

private:
  thread_state thread_{};
  heap* heap_ = nullptr;
};

template <class Work>
double seconds_of(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

enum class timed { refills, flushes };

void batches(benchmark::State& state, timed what) {
  const unsigned class_index = class_of(static_cast<std::size_t>(state.range(0)));
  cached_heap heap;
  std::vector<void*> blocks(block_count);
  for (auto _ : state) {
    const double refills = seconds_of([&] {
      for (void*& block : blocks)
        block = heap.pop(class_index);
    });
    for (void* const block : blocks)
      if (block == nullptr)
        return state.SkipWithError("memory is out");
    const double flushes = seconds_of([&] {
      for (void* const block : blocks)
        heap.push(class_index, block);
    });
    state.SetIterationTime(what == timed::refills ? refills : flushes);
  }
  state.SetItemsProcessed(state.iterations() * block_count);
}

BENCHMARK_CAPTURE(batches, refill, timed::refills)
    ->Name("cache/refill")
    ->Arg(16)
    ->Arg(128)
    ->Arg(1024)
    ->UseManualTime();
BENCHMARK_CAPTURE(batches, flush, timed::flushes)
    ->Name("cache/flush")
    ->Arg(16)
    ->Arg(128)
    ->Arg(1024)
    ->UseManualTime();

} // namespace
} // namespace mete::heap
