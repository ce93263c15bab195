// The result of a comparison: every run of every workload on every candidate, and the figures that
// come of them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/candidate.hpp"
#include "cli/estimate.hpp"
#include "cli/measured_run.hpp"
#include "cli/workload.hpp"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mete::cli {

struct judged_run {
  std::size_t round = 0;
  measured_run run;
  std::vector<std::pair<std::string, double>> metrics; // that it printed, by name
  std::string failure;                                 // why it does not count; empty if it does
};

// What is compared of each run.
struct figure {
  std::string name; // in --fail-if and in files
  std::string unit;
  std::function<std::optional<double>(const judged_run&)> of;
};

// Those that every run has, then the metrics.
const std::vector<figure>& measured_figures();
figure metric_figure(const std::string& name);

struct compared_candidate {
  candidate what;
  std::vector<judged_run> runs; // in the order of their rounds
};

struct compared_workload {
  workload what;
  std::vector<compared_candidate> candidates; // the first is what the others are compared with

  // Its place among the candidates, or their number where it takes no part.
  std::size_t index_of(const std::string& name) const;
};

struct comparison {
  std::string title;
  std::string command;                                      // that does all of it again
  std::vector<std::pair<std::string, std::string>> machine; // facts: name and value
  std::vector<compared_workload> workloads;
};

// Of all workloads, each once.
std::vector<std::string> names_of_candidates(const comparison& all);

std::vector<figure> figures_of(const compared_workload& all);

// REQUIRES: it is one of measured_figures().
const figure& measured_figure(const std::string& name);

// The values of a figure in the runs that count; empty if there are none.
std::vector<double> values_of(const compared_candidate& of, const figure& which);

// The ratio to the first candidate over the rounds in which both count.
std::optional<ratio_estimate> ratio_to_first(const compared_workload& all,
                                             std::size_t candidate_index, const figure& which);

// The geometric mean of a candidate's ratios to the first one, over the workloads that have both.
// Of the candidates that take part in a workload that enters the means.
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
