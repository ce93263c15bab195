// The result of a comparison: every run of every candidate, and the figures that come of them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/candidate.hpp"
#include "cli/estimate.hpp"
#include "cli/measured_run.hpp"

#include <optional>
#include <string>
#include <vector>

namespace mete::cli {

// What is compared of each run.
struct figure {
  const char* name; // in --fail-if and in files
  const char* unit;
  std::optional<double> (*of)(const measured_run& run, std::optional<double> metric);
};
const std::vector<figure>& figures();

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

struct comparison {
  std::vector<std::string> program;
  std::string metric; // the pattern; empty: none
  bool metric_higher_is_better = true;
  std::vector<std::pair<std::string, std::string>> machine; // facts: name and value
  std::vector<compared_candidate> candidates; // the first is what the others are compared with
};

// The values of a figure in the runs that count; empty if there are none.
std::vector<double> values_of(const compared_candidate& of, const figure& which);

// The ratio to the first candidate over the rounds in which both count.
std::optional<ratio_estimate> ratio_to_first(const comparison& all, std::size_t candidate_index,
                                             const figure& which);

// "lower", "higher", "no significant difference", "too few runs".
const char* words_for(verdict meaning);

// The table for people, at most 100 columns wide.
std::string table_of(const comparison& all, bool colours);

std::string json_of(const comparison& all);
std::string csv_of(const comparison& all); // a line for each run

// The condition of --fail-if: two products compared, each of numbers and "candidate.figure", such
// as "mete.time > 1.05 * glibc.time". Throws command_error where it cannot be read or names what is
// not there; a candidate without a run that counts makes it hold.
class condition {
public:
  condition(const std::string& text, const std::vector<std::string>& candidates);
  bool holds(const comparison& all) const;

private:
  struct factor {
    double number = 0;
    std::string candidate; // empty: a number
    std::size_t figure_index = 0;
  };
  enum class relation { less, less_equal, greater, greater_equal };
  static double product(const std::vector<factor>& factors, const comparison& all);

  std::vector<factor> m_left, m_right;
  relation m_relation = relation::less;
};

} // namespace mete::cli
