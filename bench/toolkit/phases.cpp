// SPDX-License-Identifier: MIT
// Phases of several threads: each thread takes two thousand blocks of 16 to 255 bytes and writes
// them; when all have come, all blocks end together. Whoever must free one by one does so in the
// thread that took the block. The figure is the time of all threads together for one block.

#include "candidates.hpp"

#include <mete/stack.hpp>

#include <atomic>

namespace {

constexpr std::size_t phase_blocks = 2000; // of a thread

template <class blocks>
struct freed_one_by_one : blocks {
  static constexpr const char* name = blocks::name;
  static constexpr bool ends_at_once = false;
  explicit freed_one_by_one(unsigned) : blocks(0) {}
};

struct shared_stack_blocks {
  static constexpr const char* name = "shared_stack";
  static constexpr bool ends_at_once = true;
  explicit shared_stack_blocks(unsigned threads)
      : memory({.bytes = threads * phase_blocks * 256}) {}
  void* allocate(std::size_t size) { return memory.try_allocate(size, 8); }
  void end() { memory.reset(); }
  mete::shared_stack memory;
};

// What one does without it: a monotonic resource under a mutex.
struct pmr_monotonic {
  static constexpr const char* name = "pmr";
  static constexpr bool ends_at_once = true;
  explicit pmr_monotonic(unsigned threads) : buffer(threads * phase_blocks * 256) {}
  void* allocate(std::size_t size) {
    const std::lock_guard locked(mutex);
    return memory.allocate(size, 8);
  }
  void end() { memory.release(); }
  std::mutex mutex;
  bench::table<std::byte> buffer;
  std::pmr::monotonic_buffer_resource memory{buffer.begin(), buffer.size()};
};

using all =
    bench::candidates<freed_one_by_one<bench::malloc_blocks>, shared_stack_blocks, pmr_monotonic
#ifdef METE_BENCH_TBB
                      ,
                      freed_one_by_one<bench::tbb_blocks>
#endif
                      >;

// Two barriers a phase: all blocks are there, and all have ended.
template <class candidate>
void run_phases(candidate& with, pthread_barrier_t& barrier, std::uint64_t phases, unsigned index) {
  bench::random_source random(index + 1);
  bench::table<bench::live_block> blocks(phase_blocks);
  for (std::uint64_t phase = 0; phase < phases; ++phase) {
    for (std::size_t i = 0; i < phase_blocks; ++i) {
      blocks[i] = bench::make_block(with, random.log_uniform(16, 256), index * phase_blocks + i);
    }
    pthread_barrier_wait(&barrier);
    for (std::size_t i = 0; i < phase_blocks; ++i) {
      blocks[i].verify(index * phase_blocks + i);
      if constexpr (!candidate::ends_at_once) {
        with.deallocate(blocks[i].memory, blocks[i].bytes);
      }
    }
    const int last = pthread_barrier_wait(&barrier);
    if constexpr (candidate::ends_at_once) {
      if (last == PTHREAD_BARRIER_SERIAL_THREAD) {
        with.end();
      }
      pthread_barrier_wait(&barrier);
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  return bench::run(
      argc, argv, all{}, []<class candidate>(bench::arguments& options, bench::random_source) {
        const unsigned threads = options.threads(2);
        const std::uint64_t count = options.number("--count", 20'000'000, 2'000'000);
        options.finish();
        candidate with(threads);
        pthread_barrier_t barrier;
        bench::check(pthread_barrier_init(&barrier, nullptr, threads) == 0, "pthread_barrier_init");
        const std::uint64_t phases = count / phase_blocks / threads + 1;
        const std::uint64_t start = bench::nanoseconds_now();
        bench::run_threads(threads,
                           [&](unsigned index) { run_phases(with, barrier, phases, index); });
        bench::metric("block", bench::cost_since(start, phases * phase_blocks * threads), "ns");
        pthread_barrier_destroy(&barrier);
      });
}
