// SPDX-License-Identifier: MIT
// The candidates for blocks of any size, one thread. buddy and region_heap divide memory that they
// have from the start: 256 MiB of address space, of which the kernel supplies what is touched.
// Where single calls are timed all of it is touched first, as a program with deadlines does.
#pragma once

#include "candidates.hpp"

#include <mete/bins.hpp>
#include <mete/buddy.hpp>
#include <mete/page_source.hpp>
#include <mete/region_heap.hpp>

#include <span>

namespace bench {

inline constexpr std::size_t region_bytes = std::size_t{256} << 20;
inline constexpr std::size_t largest_block_bytes = 512 * 1024;

inline bool touch_regions = false;

struct region {
  region() {
    if (touch_regions) {
      std::memset(bytes.begin(), 0, region_bytes);
    }
  }
  table<std::byte> bytes{region_bytes};
  std::span<std::byte> span() { return {bytes.begin(), region_bytes}; }
};

struct bins_blocks : toolkit_blocks<mete::bins> {
  static constexpr const char* name = "bins";
  explicit bins_blocks(std::size_t) : toolkit_blocks(mete::bins_options{}) {}
};
// What it gives back leaves the process, which memory of malloc's seldom does.
struct pages {
  mete::page_source source;
};
struct bins_pages_blocks : private pages, toolkit_blocks<mete::bins> {
  static constexpr const char* name = "bins_pages";
  explicit bins_pages_blocks(std::size_t)
      : toolkit_blocks(mete::bins_options{.upstream = &source}) {}
};
struct buddy_blocks : private region, toolkit_blocks<mete::buddy> {
  static constexpr const char* name = "buddy";
  explicit buddy_blocks(std::size_t) : toolkit_blocks(mete::buddy_options{.memory = span()}) {}
};
struct region_heap_blocks : private region, toolkit_blocks<mete::region_heap> {
  static constexpr const char* name = "region_heap";
  explicit region_heap_blocks(std::size_t)
      : toolkit_blocks(mete::region_heap_options{.memory = span()}) {}
};

using any_size = candidates<malloc_blocks, pmr_blocks, bins_blocks, bins_pages_blocks, buddy_blocks,
                            region_heap_blocks
#ifdef METE_BENCH_BOOST
                            ,
                            boost_blocks
#endif
#ifdef METE_BENCH_FOONATHAN
                            ,
                            foonathan_blocks
#endif
#ifdef METE_BENCH_TBB
                            ,
                            tbb_blocks
#endif
                            >;

// 16 to 4095 bytes, each doubling equally likely; every hundredth block 4 to 63 KiB.
inline std::size_t mixed_size(random_source& random) {
  return random.below(100) == 0 ? random.log_uniform(4096, 65536) : random.log_uniform(16, 4096);
}

} // namespace bench
