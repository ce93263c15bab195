// SPDX-License-Identifier: MIT
#include "cli/estimate.hpp"

#include <algorithm>
#include <random>
#include <vector>

namespace mete::cli {
namespace {

constexpr std::size_t resamples = 5000;

double median_of(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double median_of(std::span<const double> values) {
  std::vector<double> copy(values.begin(), values.end());
  return median_of(copy);
}

} // namespace

summary summarise(std::span<const double> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {median_of(values), *low, *high};
}

ratio_estimate estimate_ratio(std::span<const double> values, std::span<const double> reference) {
  ratio_estimate result;
  result.ratio = median_of(values) / median_of(reference);
  result.low = result.high = result.ratio;
  if (values.size() < min_rounds_for_verdict)
    return result;
  std::mt19937_64 random(1); // NOLINT(cert-msc32-c,cert-msc51-cpp): to be repeated exactly
  std::uniform_int_distribution<std::size_t> any_round(0, values.size() - 1);
  std::vector<double> ratios;
  std::vector<double> drawn(values.size());
  std::vector<double> drawn_reference(values.size());
  for (std::size_t resample = 0; resample < resamples; ++resample) {
    for (std::size_t at = 0; at < values.size(); ++at) {
      const std::size_t round = any_round(random);
      drawn[at] = values[round];
      drawn_reference[at] = reference[round];
    }
    ratios.push_back(median_of(drawn) / median_of(drawn_reference));
  }
  std::sort(ratios.begin(), ratios.end());
  result.low = ratios[resamples / 40];
  result.high = ratios[resamples - 1 - resamples / 40];
  result.meaning = result.high < 1  ? verdict::lower
                   : result.low > 1 ? verdict::higher
                                    : verdict::no_difference;
  return result;
}

} // namespace mete::cli
