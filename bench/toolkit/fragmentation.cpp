// SPDX-License-Identifier: MIT
// How much of the memory that an allocator holds is in no block. Fifty thousand blocks of 16 bytes
// to 63 KiB live, every page of them written; random ones are replaced, ten times as many. Then
// half of the blocks, chosen at random, are freed, and the heap is used on: of those that are left,
// random ones are replaced, again ten times as many.
//
//     fragmentation = 100 % * (1 - bytes that were asked for, of live blocks / held)
//
// `held` is what the process has become larger by since before the first block: resident memory, so
// that malloc, a memory resource and a region are measured alike. What rounding of sizes, headers,
// tables and free blocks take is in it. replaced: before the freeing; half_freed: after it;
// used_on: at the end. Whoever never gives memory back holds what the most live bytes took, which
// are 4 % more than those of `replaced`.

#include "any_size.hpp"

namespace {

double fragmentation(std::uint64_t live_bytes, double resident_before) {
  const double held = bench::resident_bytes() - resident_before;
  return 100 * (1 - static_cast<double>(live_bytes) / held);
}

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, bench::any_size{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::size_t live = options.number("--live", 50'000, 50'000);
                      const std::uint64_t count = options.number("--count", 500'000, 500'000);
                      options.finish();
                      bench::table<void*> blocks(live);
                      std::memset(blocks.begin(), 1,
                                  live * sizeof(void*)); // resident from the start
                      std::memset(blocks.begin(), 0, live * sizeof(void*));
                      const double before = bench::resident_bytes();
                      candidate with(bench::largest_block_bytes);
                      std::uint64_t live_bytes = 0;
                      const auto end = [&](void*& block) {
                        if (block == nullptr) {
                          return;
                        }
                        const std::size_t size = bench::marked_block::verify(block);
                        with.deallocate(block, size);
                        live_bytes -= size;
                        block = nullptr;
                      };
                      const auto begin = [&](void*& block) {
                        const std::size_t size = bench::mixed_size(random);
                        block = with.allocate(size);
                        bench::check(block != nullptr, "the allocator gave no memory");
                        bench::marked_block::write(block, size);
                        live_bytes += size;
                      };
                      for (void*& each : blocks) {
                        begin(each);
                      }
                      const auto replace = [&](std::size_t among, std::uint64_t times) {
                        for (std::uint64_t i = 0; i < times; ++i) {
                          void*& chosen = blocks[random.below(among)];
                          end(chosen);
                          begin(chosen);
                        }
                      };
                      replace(live, count);
                      const double replaced = fragmentation(live_bytes, before);
                      for (std::size_t left = live; left > live / 2; --left) {
                        std::swap(blocks[left - 1], blocks[random.below(left)]);
                        end(blocks[left - 1]);
                      }
                      const double half_freed = fragmentation(live_bytes, before);
                      replace(live / 2, count / 2);
                      const double used_on = fragmentation(live_bytes, before);
                      for (void*& each : blocks) {
                        end(each);
                      }
                      bench::metric("replaced", replaced, "%");
                      bench::metric("half_freed", half_freed, "%");
                      bench::metric("used_on", used_on, "%");
                    });
}
