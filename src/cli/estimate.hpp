// What a handful of measurements says, and what it does not: medians, spread, and the ratio of two
// series with an interval.
//
// The interval is the percentile bootstrap of the ratio of medians over rounds (B. Efron and
// R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16): rounds are drawn with
// replacement, both series alike, because what disturbs a machine disturbs the whole round. Where
// the interval contains 1, there is no significant difference.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>

namespace mete::cli {

struct summary {
  double median = 0;
  double low = 0;  // the smallest value, and
  double high = 0; // the largest
};

// REQUIRES: `values` is not empty.
summary summarise(std::span<const double> values);

enum class verdict { lower, higher, no_difference, too_few_runs };

struct ratio_estimate {
  double ratio = 0;
  double low = 0; // of the interval that holds it with 95 % confidence
  double high = 0;
  verdict meaning = verdict::too_few_runs;
};

// With fewer, all of them can lie on one side of 1 by chance too easily: three do every fourth
// time, five once in sixteen.
inline constexpr std::size_t min_rounds_for_verdict = 5;

// Of `values` to `reference`, which belong together by position. The same input gives the same
// result. REQUIRES: the same number of both, at least one; no reference is 0.
ratio_estimate estimate_ratio(std::span<const double> values, std::span<const double> reference);

} // namespace mete::cli
