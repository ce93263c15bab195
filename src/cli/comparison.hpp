// The result of a comparison: every run of every workload on every candidate, and the figures that
// come of them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/candidate.hpp"
#include "cli/estimate.hpp"
#include "cli/measured_run.hpp"
#include "cli/workload.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mete::cli {

// What is compared of each run.
struct figure {
  const char* name; // in --fail-if and in files
  const char* unit;
  std::optional<double> (*of)(const measured_run& run, std::optional<double> metric);
};
const std::vector<figure>& figures();
const figure* figure_called(const std::string& name); // null: there is none

struct judged_run {
  std::size_t round = 0;
  measured_run run;
  std::optional<double> metric;
  std::string failure; // why it does not count; empty if it does
};

struct compared_candidate {
  candidate what;
  std::vector<judged_run> runs; // in the order of their rounds
};

struct compared_workload {
  workload what;
  std::vector<compared_candidate> candidates; // the first is what the others are compared with
};

struct comparison {
  std::string title;
  std::string command;                                      // that does all of it again
  std::vector<std::pair<std::string, std::string>> machine; // facts: name and value
  std::vector<compared_workload> workloads;
};

// The values of a figure in the runs that count; empty if there are none.
std::vector<double> values_of(const compared_candidate& of, const figure& which);

// The ratio to the first candidate over the rounds in which both count.
std::optional<ratio_estimate> ratio_to_first(const compared_workload& all,
                                             std::size_t candidate_index, const figure& which);

// The geometric mean over the workloads of a candidate's ratios to the first one.
struct mean_ratios {
  std::string name;
  std::optional<double> time;
  std::optional<double> memory;
  std::size_t workloads = 0; // that it has figures of
};
std::vector<mean_ratios> means_of(const comparison& all);

// Runs that do not count, of all candidates.
std::size_t count_failures(const compared_workload& all);

// "lower", "higher", "no significant difference", "too few runs".
const char* words_for(verdict meaning);

// What comes of it, in one sentence.
std::string verdict_of(const compared_workload& all);
std::string verdict_of(const comparison& all);

} // namespace mete::cli
