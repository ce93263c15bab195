// SPDX-License-Identifier: MIT
// Ranges of memory that nobody touches, as of a graphics card: 256 bytes to 63 KiB, aligned to 256,
// a thousand at a time (batch), and one of five thousand replaced (replace). buddy and region_heap
// are for memory that can be touched: region_heap writes its tags there.

#include "any_size.hpp"

#include <mete/offset_heap.hpp>

namespace {

constexpr std::size_t alignment = 256;
constexpr std::size_t batch_blocks = 1000;
constexpr std::size_t live_blocks = 5000;

struct offset_heap_ranges {
  static constexpr const char* name = "offset_heap";
  using range = mete::offset_block;
  range allocate(std::size_t size) {
    const auto given = memory.try_allocate(size, alignment);
    bench::check(given.has_value(), "the allocator gave no memory");
    return *given;
  }
  void deallocate(const range& given, std::size_t) { memory.deallocate(given); }
  mete::offset_heap memory{{.capacity_bytes = bench::region_bytes, .granularity = alignment}};
};

template <class type>
struct ranges_in_memory : private bench::region {
  using range = void*;
  range allocate(std::size_t size) {
    void* const given = memory.try_allocate(size, alignment);
    bench::check(given != nullptr, "the allocator gave no memory");
    return given;
  }
  void deallocate(range given, std::size_t size) { memory.deallocate(given, size, alignment); }
  type memory{{.memory = span()}};
};
struct buddy_ranges : ranges_in_memory<mete::buddy> {
  static constexpr const char* name = "buddy";
};
struct region_heap_ranges : ranges_in_memory<mete::region_heap> {
  static constexpr const char* name = "region_heap";
};
struct malloc_ranges {
  static constexpr const char* name = "malloc";
  using range = void*;
  range allocate(std::size_t size) {
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  void deallocate(range given, std::size_t) { std::free(given); }
};

using all = bench::candidates<malloc_ranges, offset_heap_ranges, buddy_ranges, region_heap_ranges>;

template <class candidate>
struct live_range {
  typename candidate::range place;
  std::size_t bytes;
};

template <class candidate>
live_range<candidate> make_range(candidate& with, bench::random_source& random) {
  const std::size_t bytes = random.log_uniform(256, 65536);
  return {with.allocate(bytes), bytes};
}

template <class candidate>
double measure_batch(candidate& with, std::uint64_t count, bench::random_source random) {
  bench::table<live_range<candidate>> ranges(batch_blocks);
  const std::uint64_t start = bench::nanoseconds_now();
  for (std::uint64_t done = 0; done < count; done += batch_blocks) {
    for (auto& each : ranges) {
      each = make_range(with, random);
    }
    for (std::size_t left = batch_blocks; left != 0; --left) {
      std::swap(ranges[left - 1], ranges[random.below(left)]);
      with.deallocate(ranges[left - 1].place, ranges[left - 1].bytes);
    }
  }
  return bench::cost_since(start, count);
}

template <class candidate>
double measure_replace(candidate& with, std::uint64_t count, bench::random_source random) {
  bench::table<live_range<candidate>> ranges(live_blocks);
  for (auto& each : ranges) {
    each = make_range(with, random);
  }
  const std::uint64_t start = bench::nanoseconds_now();
  for (std::uint64_t i = 0; i < count; ++i) {
    auto& one = ranges[random.below(live_blocks)];
    with.deallocate(one.place, one.bytes);
    one = make_range(with, random);
  }
  const double cost = bench::cost_since(start, count);
  for (auto& each : ranges) {
    with.deallocate(each.place, each.bytes);
  }
  return cost;
}

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::uint64_t count = options.number("--count", 10'000'000, 1'000'000);
                      options.finish();
                      candidate with;
                      bench::metric("batch", measure_batch(with, count, random), "ns");
                      bench::metric("replace", measure_replace(with, count, random), "ns");
                    });
}
