// SPDX-License-Identifier: MIT
// How long single calls take, one thread, to the slowest: four thousand blocks of 16 bytes to 63
// KiB live, and a random one is replaced. The timer's own cost is subtracted
// (../workloads/timing.hpp), and shown. Interrupts and other processes are in the last percentiles
// of every candidate.

#include "../workloads/timing.hpp"
#include "any_size.hpp"

int main(int argc, char** argv) {
  return bench::run(argc, argv, bench::any_size{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::uint64_t count = options.number("--count", 5'000'000, 1'000'000);
                      const std::size_t live = options.number("--live", 4000, 4000);
                      options.finish();
                      const std::uint64_t timer = bench::cost_of_timer();
                      bench::table<bench::histogram> times(2);
                      bench::table<bench::live_block> blocks(live);
                      bench::touch_regions = true;
                      candidate with(bench::largest_block_bytes);
                      const auto timed = [&](bench::histogram& into, auto&& call) {
                        const std::uint64_t start = bench::ticks_now();
                        call();
                        const std::uint64_t ticks = bench::ticks_now() - start;
                        into.add(ticks > timer ? ticks - timer : 0);
                      };
                      for (std::uint64_t i = 0; i < count; ++i) {
                        const std::size_t place = i < live ? i : random.below(live);
                        bench::live_block& block = blocks[place];
                        if (block.memory != nullptr) {
                          block.verify(place);
                          timed(times[1], [&] { with.deallocate(block.memory, block.bytes); });
                        }
                        block.bytes = bench::mixed_size(random);
                        timed(times[0], [&] { block.memory = with.allocate(block.bytes); });
                        bench::check(block.memory != nullptr, "the allocator gave no memory");
                        block.write(place);
                      }
                      for (std::size_t place = 0; place < live && place < count; ++place) {
                        bench::end_block(with, blocks[place], place);
                      }
                      const double scale = bench::ticks_per_nanosecond();
                      bench::metric("timer", static_cast<double>(timer) / scale, "ns");
                      bench::report_times("allocate", times[0], scale);
                      bench::report_times("free", times[1], scale);
                    });
}
