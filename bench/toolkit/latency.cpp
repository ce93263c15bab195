// SPDX-License-Identifier: MIT
// How long single calls take, one thread, to the slowest: four thousand blocks of 16 bytes to 63
// KiB live, and a random one is replaced. The timer's own cost is subtracted
// (../workloads/timing.hpp), and shown.
//
// Interrupts and other processes are in the last percentiles of every candidate: a machine that is
// interrupted a thousand times a second spends one call in ten thousand on that. So all calls are
// made five times, from the start, and of each call the shortest of its five times enters the
// figures called `quiet`: cache misses, page faults and the allocator's own slow paths come back
// every time, interrupts do not.

#include "../workloads/timing.hpp"
#include "any_size.hpp"

namespace {

constexpr int repeats = 5;

struct call_times {
  explicit call_times(std::uint64_t calls) : all(1), shortest(calls) {
    std::memset(shortest.begin(), 0xff, calls * sizeof(std::uint32_t));
  }
  template <class call>
  void measure(std::uint64_t which, std::uint64_t timer, call&& timed) {
    const std::uint64_t start = bench::ticks_now();
    timed();
    const std::uint64_t ticks = bench::ticks_now() - start;
    const std::uint64_t own = ticks > timer ? ticks - timer : 0;
    all[0].add(own);
    shortest[which] = std::min(
        shortest[which], static_cast<std::uint32_t>(std::min<std::uint64_t>(own, UINT32_MAX - 1)));
  }
  void report(const char* name, const char* quiet_name, double scale) {
    bench::table<bench::histogram> quiet(1);
    for (const std::uint32_t each : shortest) {
      if (each != UINT32_MAX) {
        quiet[0].add(each);
      }
    }
    bench::report_times(name, all[0], scale);
    bench::report_times(quiet_name, quiet[0], scale);
  }

  bench::table<bench::histogram> all;
  bench::table<std::uint32_t> shortest;
};

} // namespace

int main(int argc, char** argv) {
  return bench::run(
      argc, argv, bench::any_size{},
      []<class candidate>(bench::arguments& options, const bench::random_source random_at_start) {
        const std::uint64_t count = options.number("--count", 2'000'000, 400'000);
        const std::size_t live = options.number("--live", 4000, 4000);
        options.finish();
        const std::uint64_t timer = bench::cost_of_timer();
        call_times allocations(count);
        call_times frees(count);
        bench::touch_regions = true;
        for (int repeat = 0; repeat < repeats; ++repeat) {
          bench::random_source random = random_at_start;
          bench::table<bench::live_block> blocks(live);
          candidate with(bench::largest_block_bytes);
          for (std::uint64_t i = 0; i < count; ++i) {
            const std::size_t place = i < live ? i : random.below(live);
            bench::live_block& block = blocks[place];
            if (block.memory != nullptr) {
              block.verify(place);
              frees.measure(i, timer, [&] { with.deallocate(block.memory, block.bytes); });
            }
            block.bytes = bench::mixed_size(random);
            allocations.measure(i, timer, [&] { block.memory = with.allocate(block.bytes); });
            bench::check(block.memory != nullptr, "the allocator gave no memory");
            block.write(place);
          }
          for (std::size_t place = 0; place < live && place < count; ++place) {
            bench::end_block(with, blocks[place], place);
          }
        }
        const double scale = bench::ticks_per_nanosecond();
        bench::metric("timer", static_cast<double>(timer) / scale, "ns");
        allocations.report("allocate", "allocate_quiet", scale);
        frees.report("free", "free_quiet", scale);
      });
}
