// The condition of --fail-if: two products compared, each of numbers and "candidate.figure", such
// as "mete.time > 1.05 * glibc.time".
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/comparison.hpp"

#include <string>
#include <vector>

namespace mete::cli {

class condition {
public:
  // Throws command_error where it cannot be read or names what is not there. `any_metric`: a metric
  // may give figures any name, so they are looked for in the end.
  condition(const std::string& text, const std::vector<std::string>& candidates, bool any_metric);

  // Whether all candidates that it names take part.
  bool concerns(const compared_workload& all) const;

  // REQUIRES: it concerns `all`. Of the medians. Throws command_error if a candidate has no run
  // that counts, or no such figure: that is no pass.
  bool holds(const compared_workload& all) const;

private:
  struct factor {
    double number = 0;
    std::string candidate; // empty: a number
    std::string figure;
  };
  enum class relation { less, less_equal, greater, greater_equal };
  static double product(const std::vector<factor>& factors, const compared_workload& all);

  std::vector<factor> left_, right_;
  relation relation_ = relation::less;
};

} // namespace mete::cli
