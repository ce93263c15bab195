// The experiment: a workload on every candidate, round by round, and what makes a run count.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/comparison.hpp"

#include <functional>
#include <string>

namespace mete::cli {

struct schedule {
  std::size_t warmup = 1; // rounds that are not counted
  std::size_t runs = 5;
};

// Fills in the runs. `announce` hears of each before it starts, `remark` what the user should know.
// Whoever sets `stop` ends it with the runs that are complete.
void measure(compared_workload& all, const prepared_workload& prepared, const schedule& rounds,
             const std::function<void(const std::string&)>& announce,
             const std::function<void(const std::string&)>& remark, const stop_flag& stop);

} // namespace mete::cli
