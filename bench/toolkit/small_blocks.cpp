// SPDX-License-Identifier: MIT
// Blocks of one size, one thread: alone (pair), a thousand at a time (batch), and one of ten
// thousand replaced (replace). `--size 128` are small blocks, `--size 4096` medium ones.

#include "candidates.hpp"

#include <mete/pool.hpp>
#include <mete/slab_cache.hpp>

namespace {

struct pool_blocks : bench::toolkit_blocks<mete::pool> {
  static constexpr const char* name = "pool";
  explicit pool_blocks(std::size_t size)
      : toolkit_blocks(mete::pool_options{.block_bytes = size}) {}
};

struct slab_cache_blocks : bench::toolkit_blocks<mete::slab_cache> {
  static constexpr const char* name = "slab_cache";
  explicit slab_cache_blocks(std::size_t size)
      : toolkit_blocks(mete::slab_cache_options{.block_bytes = size}) {}
};

using all =
    bench::candidates<bench::malloc_blocks, bench::pmr_blocks, pool_blocks, slab_cache_blocks
#ifdef METE_BENCH_BOOST
                      ,
                      bench::boost_pool
#endif
#ifdef METE_BENCH_FOONATHAN
                      ,
                      bench::foonathan_pool
#endif
#ifdef METE_BENCH_TBB
                      ,
                      bench::tbb_blocks
#endif
                      >;

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::size_t size = options.number("--size", 128, 128);
                      const std::uint64_t count = options.number("--count", 30'000'000, 3'000'000);
                      options.finish();
                      bench::check(size >= sizeof(std::uint64_t), "--size is at least 8");
                      const auto one_size = [size] { return size; };
                      candidate with(size);
                      const double pair = bench::measure_pairs(with, count, one_size);
                      const double batch =
                          bench::measure_batches(with, count, 1000, random, one_size);
                      const double replace =
                          bench::measure_replacing(with, count, 10'000, random, one_size);
                      bench::metric("pair", pair, "ns");
                      bench::metric("batch", batch, "ns");
                      bench::metric("replace", replace, "ns");
                    });
}
