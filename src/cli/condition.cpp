// SPDX-License-Identifier: MIT
#include "cli/condition.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace mete::cli {

condition::condition(const std::string& text, const std::vector<std::string>& candidates,
                     bool any_metric) {
  const auto fail = [&](const std::string& what) {
    throw command_error(status_usage, fmt::format("--fail-if '{}': {}; write for instance "
                                                  "'mete.time > 1.05 * glibc.time'",
                                                  text, what));
  };
  std::vector<factor>* side = &left_;
  bool factor_expected = true;
  for (std::size_t at = 0; at < text.size();) {
    const char now = text[at];
    if (std::isspace(static_cast<unsigned char>(now)) != 0) {
      ++at;
    } else if (factor_expected) {
      const std::size_t end = std::min(text.find_first_of(" \t*<>", at), text.size());
      const std::string word = text.substr(at, end - at);
      factor next;
      char* rest = nullptr;
      next.number = std::strtod(word.c_str(), &rest);
      if (word.empty() || *rest != '\0') {
        const std::size_t dot = word.rfind('.');
        next.figure = dot == word.npos ? "" : word.substr(dot + 1);
        next.candidate = word.substr(0, std::min(dot, word.size()));
        std::vector<std::string> names;
        for (const figure& each : measured_figures())
          names.push_back(each.name);
        const bool known = std::find(names.begin(), names.end(), next.figure) != names.end();
        if (!known && (next.figure.empty() || !any_metric)) {
          fail(fmt::format("'{}' is neither a number nor allocator.figure, with a figure of {}",
                           word, fmt::join(names, ", ")));
        }
        if (std::find(candidates.begin(), candidates.end(), next.candidate) == candidates.end())
          fail(fmt::format("'{}' is not compared", next.candidate));
      }
      side->push_back(next);
      factor_expected = false;
      at = end;
    } else if (now == '*') {
      factor_expected = true;
      ++at;
    } else if ((now == '<' || now == '>') && side == &left_) {
      const bool equal = at + 1 < text.size() && text[at + 1] == '=';
      relation_ = now == '<' ? (equal ? relation::less_equal : relation::less)
                             : (equal ? relation::greater_equal : relation::greater);
      side = &right_;
      factor_expected = true;
      at += equal ? 2 : 1;
    } else {
      fail(fmt::format("'{}' is not understood", text.substr(at)));
    }
  }
  if (factor_expected || side == &left_)
    fail("something is missing");
}

double condition::product(const std::vector<factor>& factors, const compared_workload& all) {
  double result = 1;
  for (const factor& each : factors) {
    if (each.candidate.empty()) {
      result *= each.number;
      continue;
    }
    for (const compared_candidate& candidate : all.candidates) {
      if (candidate.what.name != each.candidate)
        continue;
      const std::vector<figure> figures = figures_of(all);
      const auto which = std::find_if(figures.begin(), figures.end(),
                                      [&](const figure& one) { return one.name == each.figure; });
      const std::vector<double> values =
          which == figures.end() ? std::vector<double>() : values_of(candidate, *which);
      if (values.empty())
        throw command_error(1, fmt::format("--fail-if: '{}' has no run that counts with a {}",
                                           each.candidate, each.figure));
      result *= summarise(values).median;
    }
  }
  return result;
}

bool condition::concerns(const compared_workload& all) const {
  const auto known = [&](const factor& each) {
    return each.candidate.empty() || all.index_of(each.candidate) != all.candidates.size();
  };
  return std::all_of(left_.begin(), left_.end(), known) &&
         std::all_of(right_.begin(), right_.end(), known);
}

bool condition::holds(const compared_workload& all) const {
  const double left = product(left_, all);
  const double right = product(right_, all);
  switch (relation_) {
  case relation::less:
    return left < right;
  case relation::less_equal:
    return left <= right;
  case relation::greater:
    return left > right;
  case relation::greater_equal:
    break;
  }
  return left >= right;
}

} // namespace mete::cli
