// A comparison with figures that are known: mete takes about half of glibc's time, and as much
// memory.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/comparison.hpp"

#include <string>

namespace mete::cli {

inline judged_run make_run(std::size_t round, double seconds, std::size_t mib,
                           std::string failure = "") {
  judged_run each;
  each.round = round;
  each.run.wall_seconds = seconds;
  each.run.user_seconds = seconds * 0.75;
  each.run.system_seconds = seconds * 0.25;
  each.run.peak_bytes = mib << 20;
  each.run.page_faults = 1234;
  each.metrics = {{"metric", 100 / seconds}};
  each.failure = std::move(failure);
  return each;
}

inline compared_workload make_workload() {
  compared_workload all;
  all.what.name = "job";
  all.what.program = {"job", "an, argument"};
  all.what.metric = "rate ([0-9.]+)";
  all.candidates = {{{"glibc", "", "2.36"}, {}}, {{"mete", "/opt/libmete.so", "0.1.0"}, {}}};
  for (std::size_t round = 1; round <= 5; ++round) {
    const double drift = 0.01 * static_cast<double>(round);
    all.candidates[0].runs.push_back(make_run(round, 2 + drift, 100));
    all.candidates[1].runs.push_back(make_run(round, 1 + drift, 100));
  }
  return all;
}

inline comparison make_comparison() {
  comparison all;
  all.title = "job";
  all.command = "mete compare -- job";
  all.machine = {{"CPU", "a \"fast\" one"}};
  all.workloads = {make_workload()};
  return all;
}

} // namespace mete::cli
