// SPDX-License-Identifier: MIT
// How long a single malloc or free takes, and above all how long the slowest take: two threads make
// blocks of mixed sizes, swap each with a random place of a shared table and free what comes out,
// mostly the other thread's. Each call is timed with the processor's counter; the counter's own
// cost, measured at the start, is subtracted. The times go into histograms with 32 steps per
// doubling (the log-linear form of G. Tene's HdrHistogram: 3 % resolution at any scale). They are
// ours because Debian has HdrHistogram for Go and Java only, and because a library's histogram
// would take its memory from the allocator that is measured.

#include "support.hpp"

#include <atomic>
#if defined(__x86_64__)
#  include <x86intrin.h>
#endif

namespace {

std::uint64_t ticks_now() {
#if defined(__x86_64__)
  // The fences keep the calls before and after from being timed with the one in between.
  _mm_lfence();
  const std::uint64_t ticks = __rdtsc();
  _mm_lfence();
  return ticks;
#elif defined(__aarch64__)
  std::uint64_t ticks;
  asm volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(ticks)::"memory");
  return ticks;
#else
  return bench::nanoseconds_now();
#endif
}

class histogram {
public:
  void add(std::uint64_t ticks) {
    ++counts_[place_of(ticks)];
    ++total_;
    worst_ = ticks > worst_ ? ticks : worst_;
  }

  void add(const histogram& other) {
    for (std::size_t i = 0; i < places; ++i) {
      counts_[i] += other.counts_[i];
    }
    total_ += other.total_;
    worst_ = other.worst_ > worst_ ? other.worst_ : worst_;
  }

  double percentile(double fraction) const {
    auto left = static_cast<std::uint64_t>(fraction * static_cast<double>(total_));
    for (std::size_t i = 0; i < places; ++i) {
      if (left < counts_[i]) {
        return static_cast<double>(value_of(i));
      }
      left -= counts_[i];
    }
    return static_cast<double>(worst_);
  }

  double worst() const { return static_cast<double>(worst_); }
  std::uint64_t total() const { return total_; }

private:
  static constexpr unsigned step_bits = 5;
  static constexpr std::size_t steps = 1 << step_bits;
  static constexpr std::size_t places = steps * (64 - step_bits + 1);

  static std::size_t place_of(std::uint64_t value) {
    if (value < steps) {
      return value;
    }
    const auto shift = static_cast<unsigned>(63 - __builtin_clzll(value)) - step_bits;
    return (shift + 1) * steps + (value >> shift) - steps;
  }

  static std::uint64_t value_of(std::size_t place) {
    const std::size_t row = place / steps;
    return row == 0 ? place : (place % steps + steps) << (row - 1);
  }

  std::uint64_t counts_[places];
  std::uint64_t total_;
  std::uint64_t worst_;
};

struct measured {
  histogram allocations;
  histogram frees;
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

std::uint64_t cost_of_timer() {
  static histogram costs;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t start = ticks_now();
    costs.add(ticks_now() - start);
  }
  return static_cast<std::uint64_t>(costs.percentile(0.5));
}

double ticks_per_nanosecond() {
  const std::uint64_t start_time = bench::nanoseconds_now();
  const std::uint64_t start = ticks_now();
  bench::sleep_milliseconds(50);
  const std::uint64_t ticks = ticks_now() - start;
  return static_cast<double>(ticks) / static_cast<double>(bench::nanoseconds_now() - start_time);
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
    std::uint64_t start = ticks_now();
    void* block = bench::marked_block::allocate(size);
    result.allocations.add(without_timer(ticks_now() - start));
    bench::marked_block::write(block, size);
    block = shared[place].exchange(block, std::memory_order_acq_rel);
    if (block != nullptr) {
      bench::marked_block::verify(block);
      start = ticks_now();
      std::free(block);
      result.frees.add(without_timer(ticks_now() - start));
    }
  }
}

void report(const char* call, const histogram& times, double ticks_per_ns) {
  constexpr struct {
    const char* name;
    double fraction;
  } rows[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
  char name[32];
  for (const auto& row : rows) {
    std::snprintf(name, sizeof name, "%s_%s", call, row.name);
    bench::metric(name, times.percentile(row.fraction) / ticks_per_ns, "ns");
  }
  std::snprintf(name, sizeof name, "%s_worst", call);
  bench::metric(name, times.worst() / ticks_per_ns, "ns");
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(2);
  const std::size_t slots = arguments.number("--slots", 10'000, 10'000);
  const std::uint64_t count = arguments.number("--count", 6'000'000, 1'000'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  const std::uint64_t timer_cost = cost_of_timer();
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
  const double ticks_per_ns = ticks_per_nanosecond();
  bench::metric("timer", static_cast<double>(timer_cost) / ticks_per_ns, "ns");
  report("malloc", results[0].allocations, ticks_per_ns);
  report("free", results[0].frees, ticks_per_ns);
  return 0;
}
