// A comparison as people and programs read it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/comparison.hpp"

#include <string>

namespace mete::cli {

// The table for people, at most 100 columns wide.
std::string table_of(const compared_workload& all, bool colours);

// The geometric means over several workloads.
std::string table_of_means(const comparison& all);

// The course of memory takes most of the room, and the report draws one run of each candidate.
enum class memory_samples { of_all_runs, of_median_runs };
std::string json_of(const comparison& all, memory_samples which = memory_samples::of_all_runs);
std::string csv_of(const comparison& all); // a line for each run

} // namespace mete::cli
