// SPDX-License-Identifier: MIT
// How long a single malloc or free takes, and above all how long the slowest take: two threads make
// blocks of mixed sizes, swap each with a random place of a shared table and free what comes out,
// mostly the other thread's. Each call is timed with the processor's counter; the counter's own
// cost, measured at the start, is subtracted (timing.hpp).

#include "timing.hpp"

#include <atomic>

namespace {

struct measured {
  bench::histogram allocations;
  bench::histogram frees;
};

// 16 bytes to 512 KiB: 80 % small, 15 % up to 4 KiB, 4.5 % up to 64 KiB, 0.5 % above.
std::uint64_t random_size(bench::random_source& random) {
  const std::uint64_t kind = random.below(1000);
  if (kind < 800) {
    return random.log_uniform(16, 256);
  }
  if (kind < 950) {
    return random.log_uniform(256, 4096);
  }
  return kind < 995 ? random.log_uniform(4096, 65536) : random.log_uniform(65536, 524288);
}

void work(std::uint64_t seed, std::uint64_t count, std::uint64_t timer_cost,
          bench::table<std::atomic<void*>>& shared, measured& result) {
  bench::random_source random(seed);
  const auto without_timer = [&](std::uint64_t ticks) {
    return ticks > timer_cost ? ticks - timer_cost : 0;
  };
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t size = random_size(random);
    const std::uint64_t place = random.below(shared.size());
    std::uint64_t start = bench::ticks_now();
    void* block = bench::marked_block::allocate(size);
    result.allocations.add(without_timer(bench::ticks_now() - start));
    bench::marked_block::write(block, size);
    block = shared[place].exchange(block, std::memory_order_acq_rel);
    if (block != nullptr) {
      bench::marked_block::verify(block);
      start = bench::ticks_now();
      std::free(block);
      result.frees.add(without_timer(bench::ticks_now() - start));
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(2);
  const std::size_t slots = arguments.number("--slots", 10'000, 10'000);
  const std::uint64_t count = arguments.number("--count", 6'000'000, 500'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  const std::uint64_t timer_cost = bench::cost_of_timer();
  bench::table<std::atomic<void*>> shared(slots);
  bench::table<measured> results(threads);
  bench::run_threads(threads, [&](unsigned index) {
    work(seed * 7919 + index, count / threads, timer_cost, shared, results[index]);
  });
  for (unsigned i = 1; i < threads; ++i) {
    results[0].allocations.add(results[i].allocations);
    results[0].frees.add(results[i].frees);
  }
  std::uint64_t left = 0;
  for (std::atomic<void*>& slot : shared) {
    if (void* block = slot.load()) {
      bench::marked_block::release(block);
      ++left;
    }
  }
  bench::check(results[0].allocations.total() == results[0].frees.total() + left,
               "blocks were lost between the threads");
  const double ticks_per_ns = bench::ticks_per_nanosecond();
  bench::metric("timer", static_cast<double>(timer_cost) / ticks_per_ns, "ns");
  bench::report_times("malloc", results[0].allocations, ticks_per_ns);
  bench::report_times("free", results[0].frees, ticks_per_ns);
  return 0;
}
