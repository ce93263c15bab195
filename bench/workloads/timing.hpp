// SPDX-License-Identifier: MIT
// Timing single calls: the processor's counter, what it costs itself, and a histogram of the
// log-linear form of G. Tene's HdrHistogram: 32 steps per doubling, 3 % resolution at any scale. It
// is ours because Debian has HdrHistogram for Go and Java only, and because a library's histogram
// would take its memory from the allocator that is measured.
#pragma once

#include "support.hpp"

#if defined(__x86_64__)
#  include <x86intrin.h>
#endif

namespace bench {

inline std::uint64_t ticks_now() {
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
  return nanoseconds_now();
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

inline std::uint64_t cost_of_timer() {
  static histogram costs;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t start = ticks_now();
    costs.add(ticks_now() - start);
  }
  return static_cast<std::uint64_t>(costs.percentile(0.5));
}

inline double ticks_per_nanosecond() {
  const std::uint64_t start_time = nanoseconds_now();
  const std::uint64_t start = ticks_now();
  sleep_milliseconds(50);
  const std::uint64_t ticks = ticks_now() - start;
  return static_cast<double>(ticks) / static_cast<double>(nanoseconds_now() - start_time);
}

inline void report_times(const char* call, const histogram& times, double ticks_per_ns) {
  constexpr struct {
    const char* name;
    double fraction;
  } rows[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
  char name[32];
  for (const auto& row : rows) {
    std::snprintf(name, sizeof name, "%s_%s", call, row.name);
    metric(name, times.percentile(row.fraction) / ticks_per_ns, "ns");
  }
  std::snprintf(name, sizeof name, "%s_worst", call);
  metric(name, times.worst() / ticks_per_ns, "ns");
}

} // namespace bench
