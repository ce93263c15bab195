// SPDX-License-Identifier: MIT
// Blocks of one size, many threads: each thread for itself, a hundred at a time (own), and blocks
// that change hands: each goes to a random place of a table that all threads share, and what was
// there is freed, mostly another thread's (handed). Figures are the time of all threads together
// for one block.

#include "candidates.hpp"

#include <mete/shared_pool.hpp>

#include <atomic>

namespace {

struct shared_pool_blocks : bench::toolkit_blocks<mete::shared_pool> {
  static constexpr const char* name = "shared_pool";
  explicit shared_pool_blocks(std::size_t size)
      : toolkit_blocks(mete::shared_pool_options{.block_bytes = size}) {}
};

using all = bench::candidates<bench::malloc_blocks, bench::pmr_shared_blocks, shared_pool_blocks
#ifdef METE_BENCH_BOOST
                              ,
                              bench::boost_shared_blocks
#endif
#ifdef METE_BENCH_FOONATHAN
                              ,
                              bench::foonathan_shared_pool
#endif
#ifdef METE_BENCH_TBB
                              ,
                              bench::tbb_blocks
#endif
                              >;

template <class candidate>
void hand_over(candidate& with, bench::table<std::atomic<void*>>& places, std::size_t size,
               std::uint64_t count, bench::random_source random) {
  for (std::uint64_t i = 0; i < count; ++i) {
    void* block = with.allocate(size);
    bench::check(block != nullptr, "the allocator gave no memory");
    bench::marked_block::write(block, size);
    block = places[random.below(places.size())].exchange(block, std::memory_order_acq_rel);
    if (block != nullptr) {
      with.deallocate(block, bench::marked_block::verify(block));
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const unsigned threads = options.threads(2);
                      const std::size_t size = options.number("--size", 128, 128);
                      const std::uint64_t count = options.number("--count", 10'000'000, 1'000'000);
                      options.finish();
                      candidate with(size);
                      std::uint64_t start = bench::nanoseconds_now();
                      bench::run_threads(threads, [&](unsigned) {
                        bench::measure_batches(with, count / threads, 100, random,
                                               [size] { return size; });
                      });
                      bench::metric("own", bench::cost_since(start, count), "ns");
                      bench::table<std::atomic<void*>> places(1000);
                      start = bench::nanoseconds_now();
                      bench::run_threads(threads, [&](unsigned index) {
                        hand_over(with, places, size, count / threads, bench::random_source(index));
                      });
                      bench::metric("handed", bench::cost_since(start, count), "ns");
                      for (std::atomic<void*>& each : places) {
                        if (void* block = each.load()) {
                          with.deallocate(block, bench::marked_block::verify(block));
                        }
                      }
                    });
}
