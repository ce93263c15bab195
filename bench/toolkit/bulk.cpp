// SPDX-License-Identifier: MIT
// Requests: a thousand blocks of 16 to 255 bytes, used, and all of them freed at once. What is
// timed is a request as a whole, its end included, for a block: the mean (ns), and the percentiles
// over all requests.

#include "../workloads/timing.hpp"
#include "candidates.hpp"

#include <mete/arena.hpp>
#include <mete/connection_memory.hpp>
#include <mete/frame.hpp>

namespace {

constexpr std::size_t request_blocks = 1000;
constexpr std::size_t buffer_bytes = 16 * 1024;

// Frees block by block, for which it has to keep a list: that is what one does with malloc.
template <class blocks>
struct freed_one_by_one : blocks {
  static constexpr const char* name = blocks::name;
  freed_one_by_one() : blocks(buffer_bytes), list(request_blocks) {}
  void* allocate(std::size_t size) { return list[used++] = blocks::allocate(size); }
  void end_request() {
    while (used != 0) {
      blocks::deallocate(list[--used], 0);
    }
  }
  bench::table<void*> list;
  std::size_t used = 0;
};

struct arena_blocks {
  static constexpr const char* name = "arena";
  void* allocate(std::size_t size) { return memory.try_allocate(size); }
  void end_request() { memory.reset(); }
  mete::arena memory;
};

// A request is a frame: it ends when the one after the next begins.
struct frame_blocks {
  static constexpr const char* name = "frame_arena";
  void* allocate(std::size_t size) { return memory.try_allocate(size); }
  void end_request() { memory.next_frame(); }
  mete::frame_arena<2> memory;
};

// A connection's requests, one after the other; between them it keeps its arena.
struct connection_blocks {
  static constexpr const char* name = "connection";
  void* allocate(std::size_t size) { return open->try_allocate(size); }
  void end_request() { open->end_request(); }
  mete::connection_memory memory;
  mete::box<mete::connection> open = memory.open();
};

// These keep nothing from one request to the next but a first buffer, if they are given one.
template <class resource>
struct monotonic_blocks {
  void* allocate(std::size_t size) { return memory.allocate(size); }
  void end_request() { memory.release(); }
  alignas(std::max_align_t) char buffer[buffer_bytes];
  resource memory{buffer, sizeof buffer};
};
struct pmr_monotonic : monotonic_blocks<std::pmr::monotonic_buffer_resource> {
  static constexpr const char* name = "pmr";
};

#ifdef METE_BENCH_BOOST
struct boost_monotonic : monotonic_blocks<boost::container::pmr::monotonic_buffer_resource> {
  static constexpr const char* name = "boost";
};
#endif

#ifdef METE_BENCH_FOONATHAN
struct foonathan_stack {
  static constexpr const char* name = "foonathan";
  void* allocate(std::size_t size) { return memory.allocate(size, alignof(std::max_align_t)); }
  void end_request() { memory.unwind(bottom); }
  foonathan::memory::memory_stack<> memory{buffer_bytes};
  foonathan::memory::memory_stack<>::marker bottom = memory.top();
};
#endif

#ifdef METE_BENCH_TBB
struct tbb_pool {
  static constexpr const char* name = "tbb";
  void* allocate(std::size_t size) { return memory.malloc(size); }
  void end_request() { memory.recycle(); }
  tbb::memory_pool<std::allocator<char>> memory;
};
#endif

using all = bench::candidates<freed_one_by_one<bench::malloc_blocks>, pmr_monotonic, arena_blocks,
                              frame_blocks, connection_blocks
#ifdef METE_BENCH_BOOST
                              ,
                              boost_monotonic
#endif
#ifdef METE_BENCH_FOONATHAN
                              ,
                              foonathan_stack
#endif
#ifdef METE_BENCH_TBB
                              ,
                              tbb_pool
#endif
                              >;

// Verifies all blocks of one request: that no two of them are one.
template <class candidate>
void check_request(candidate& with, bench::table<std::uint32_t>& sizes) {
  bench::table<bench::live_block> blocks(request_blocks);
  for (std::size_t i = 0; i < request_blocks; ++i) {
    blocks[i] = bench::make_block(with, sizes[i], i);
  }
  for (std::size_t i = 0; i < request_blocks; ++i) {
    blocks[i].verify(i);
  }
  with.end_request();
}

void report(const bench::histogram& times, std::uint64_t all_ticks, std::uint64_t requests) {
  const double scale = bench::ticks_per_nanosecond() * request_blocks;
  bench::metric("mean", static_cast<double>(all_ticks) / static_cast<double>(requests) / scale,
                "ns");
  bench::metric("p50", times.percentile(0.5) / scale, "ns");
  bench::metric("p99", times.percentile(0.99) / scale, "ns");
  bench::metric("p99.9", times.percentile(0.999) / scale, "ns");
}

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::uint64_t requests = options.number("--count", 50'000, 10'000);
                      options.finish();
                      bench::table<std::uint32_t> sizes(request_blocks);
                      for (std::uint32_t& each : sizes) {
                        each = static_cast<std::uint32_t>(random.log_uniform(16, 256));
                      }
                      candidate with;
                      check_request(with, sizes);
                      bench::table<bench::histogram> times(1);
                      std::uint64_t all_ticks = 0;
                      for (std::uint64_t i = 0; i < requests; ++i) {
                        const std::uint64_t start = bench::ticks_now();
                        for (const std::uint32_t size : sizes) {
                          std::memcpy(with.allocate(size), &i, sizeof i);
                        }
                        with.end_request();
                        const std::uint64_t ticks = bench::ticks_now() - start;
                        times[0].add(ticks);
                        all_ticks += ticks;
                      }
                      check_request(with, sizes);
                      report(times[0], all_ticks, requests);
                    });
}
