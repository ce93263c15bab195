// SPDX-License-Identifier: MIT
// What a wrapper or an adapter costs: bins as they are, and behind each of them. Blocks of 16 to
// 1023 bytes, one thread: alone (pair), a thousand at a time (batch), and one of ten thousand
// replaced (replace).

#include "candidates.hpp"

#include <mete/adapt.hpp>
#include <mete/bins.hpp>
#include <mete/compose.hpp>
#include <mete/counted.hpp>
#include <mete/guarded.hpp>
#include <mete/locked.hpp>
#include <mete/page_source.hpp>
#include <mete/pool.hpp>
#include <mete/slab_cache.hpp>
#include <mete/source.hpp>

namespace {

struct plain : bench::toolkit_blocks<mete::bins> {
  static constexpr const char* name = "bins";
};
struct counted : bench::toolkit_blocks<mete::counted<mete::bins>> {
  static constexpr const char* name = "counted";
};
struct guarded : bench::toolkit_blocks<mete::guarded<mete::bins>> {
  static constexpr const char* name = "guarded";
};
struct locked : bench::toolkit_blocks<mete::locked<mete::bins>> {
  static constexpr const char* name = "locked";
};

using either = mete::fallback<mete::slab_cache, mete::bins>;
struct fallback : bench::toolkit_blocks<either> {
  static constexpr const char* name = "fallback";
  fallback() : toolkit_blocks(either::options{.first = {.block_bytes = 64}}) {}
};
using by_size = mete::split_at<64, mete::pool, mete::bins>;
struct split_at : bench::toolkit_blocks<by_size> {
  static constexpr const char* name = "split_at";
  split_at() : toolkit_blocks(by_size::options{.small = {.block_bytes = 64}}) {}
};
using by_sizes = mete::bucketize<mete::bucket<64, mete::pool>, mete::bucket<256, mete::pool>,
                                 mete::bucket<SIZE_MAX, mete::bins>>;
struct bucketize : bench::toolkit_blocks<by_sizes> {
  static constexpr const char* name = "bucketize";
  bucketize()
      : toolkit_blocks(
            by_sizes::options{.parts = {{.block_bytes = 64}, {.block_bytes = 256}, {}}}) {}
};

// As a container sees them.
struct resource {
  static constexpr const char* name = "resource";
  void* allocate(std::size_t size) { return seen->allocate(size); }
  void deallocate(void* block, std::size_t size) { seen->deallocate(block, size); }
  mete::resource<mete::bins> memory;
  std::pmr::memory_resource* seen = &memory;
};
struct stl {
  static constexpr const char* name = "stl";
  void* allocate(std::size_t size) { return seen.allocate(size); }
  void deallocate(void* block, std::size_t size) {
    seen.deallocate(static_cast<std::byte*>(block), size);
  }
  mete::bins memory;
  mete::stl<std::byte, mete::bins> seen{memory};
};

// On other sources than malloc.
struct on_pages {
  static constexpr const char* name = "bins_pages";
  void* allocate(std::size_t size) { return memory.try_allocate(size); }
  void deallocate(void* block, std::size_t size) {
    memory.deallocate(block, size, alignof(std::max_align_t));
  }
  mete::page_source source;
  mete::bins memory{{.upstream = &source}};
};
struct on_limit {
  static constexpr const char* name = "bins_limit";
  void* allocate(std::size_t size) { return memory.try_allocate(size); }
  void deallocate(void* block, std::size_t size) {
    memory.deallocate(block, size, alignof(std::max_align_t));
  }
  mete::limit_source source{mete::default_source(), std::size_t{1} << 30};
  mete::bins memory{{.upstream = &source}};
};

using all = bench::candidates<plain, counted, guarded, locked, fallback, split_at, bucketize,
                              resource, stl, on_pages, on_limit>;

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::uint64_t count = options.number("--count", 2'000'000, 300'000);
                      options.finish();
                      candidate with;
                      const auto next_size = [&] { return random.log_uniform(16, 1024); };
                      const double pair = bench::measure_pairs(with, count, next_size);
                      const double batch =
                          bench::measure_batches(with, count, 1000, random, next_size);
                      const double replace =
                          bench::measure_replacing(with, count, 10'000, random, next_size);
                      bench::metric("pair", pair, "ns");
                      bench::metric("batch", batch, "ns");
                      bench::metric("replace", replace, "ns");
                    });
}
