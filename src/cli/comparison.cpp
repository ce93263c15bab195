// SPDX-License-Identifier: MIT
#include "cli/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <functional>

namespace mete::cli {
namespace {

constexpr double mib = 1024.0 * 1024.0;

bool counts(const judged_run& run) {
  return run.failure.empty();
}

std::optional<double> geometric_mean(const std::vector<double>& ratios) {
  if (ratios.empty())
    return std::nullopt;
  double sum = 0;
  for (const double each : ratios)
    sum += std::log(each);
  return std::exp(sum / static_cast<double>(ratios.size()));
}

// How one candidate stands to the first in one figure: "0.49 of the time", say.
std::string standing(const std::optional<ratio_estimate>& ratio, const char* what) {
  if (!ratio)
    return fmt::format("no figures of the {}", what);
  if (ratio->meaning == verdict::no_difference)
    return fmt::format("no significant difference in {}", what);
  return fmt::format("{:.2f} of the {}", ratio->ratio, what);
}

// Of several candidates: the best one in a figure of which less is better, if it is clearly better
// than the first.
std::string leader(const compared_workload& all, const figure& which, const char* what,
                   const char* superlative) {
  const std::string& first = all.candidates[0].what.name;
  const compared_candidate* best = nullptr;
  double lowest = 0;
  bool all_higher = true;
  for (std::size_t index = 1; index < all.candidates.size(); ++index) {
    const auto ratio = ratio_to_first(all, index, which);
    if (!ratio)
      continue;
    all_higher = all_higher && ratio->meaning == verdict::higher;
    if (ratio->meaning == verdict::lower && (best == nullptr || ratio->ratio < lowest)) {
      best = &all.candidates[index];
      lowest = ratio->ratio;
    }
  }
  if (best != nullptr)
    return fmt::format("{} {}, at {:.2f} of {}'s {}", best->what.name, superlative, lowest, first,
                       what);
  return all_higher ? fmt::format("{} {}", first, superlative)
                    : fmt::format("none {} than {} by a significant difference",
                                  which.name == "time" ? "is faster" : "is smaller", first);
}

std::string failures_in_words(const compared_workload& all) {
  std::vector<std::string> parts;
  for (const compared_candidate& each : all.candidates)
    if (const auto failed = static_cast<std::size_t>(
            std::count_if(each.runs.begin(), each.runs.end(), std::not_fn(counts)));
        failed != 0)
      parts.push_back(
          fmt::format("{} failed in {} of {} runs", each.what.name, failed, each.runs.size()));
  return parts.empty() ? "" : fmt::format(" {}.", fmt::join(parts, "; "));
}

// Why nothing can be said yet; empty if something can.
std::string no_verdict(const compared_workload& all) {
  if (all.candidates.size() < 2)
    return "One allocator only, so there is nothing to compare.";
  std::size_t few = 0, some = 0;
  for (std::size_t index = 1; index < all.candidates.size(); ++index)
    if (const auto ratio = ratio_to_first(all, index, measured_figure("time"))) {
      ++some;
      few += ratio->meaning == verdict::too_few_runs ? 1 : 0;
    }
  if (some == 0)
    return fmt::format("No run counts both on {} and on another allocator.",
                       all.candidates[0].what.name);
  return few == some
             ? fmt::format("Too few runs for a verdict (it takes {}).", min_rounds_for_verdict)
             : "";
}

} // namespace

const std::vector<figure>& measured_figures() {
  using each = const judged_run&;
  using value = std::optional<double>;
  static const std::vector<figure> all{
      {"time", "s", [](each r) -> value { return r.run.wall_seconds; }},
      {"cpu", "s", [](each r) -> value { return r.run.user_seconds + r.run.system_seconds; }},
      {"user", "s", [](each r) -> value { return r.run.user_seconds; }},
      {"system", "s", [](each r) -> value { return r.run.system_seconds; }},
      {"memory", "MiB",
       [](each r) -> value { return static_cast<double>(r.run.peak_bytes) / mib; }},
      {"faults", "", [](each r) -> value { return static_cast<double>(r.run.page_faults); }},
      {"switches", "", [](each r) -> value { return static_cast<double>(r.run.context_switches); }},
      {"mappings", "", [](each r) -> value { return r.run.mappings; }},
  };
  return all;
}

figure metric_figure(const std::string& name) {
  return {name, "", [name](const judged_run& each) -> std::optional<double> {
            const auto found =
                std::find_if(each.metrics.begin(), each.metrics.end(),
                             [&](const auto& metric) { return metric.first == name; });
            return found == each.metrics.end() ? std::nullopt : std::optional(found->second);
          }};
}

std::vector<figure> figures_of(const compared_workload& all) {
  std::vector<figure> found = measured_figures();
  for (const compared_candidate& candidate : all.candidates)
    for (const judged_run& run : candidate.runs)
      for (const auto& [name, value] : run.metrics)
        if (std::none_of(found.begin(), found.end(),
                         [&, &name = name](const figure& each) { return each.name == name; }))
          found.push_back(metric_figure(name));
  return found;
}

const figure& measured_figure(const std::string& name) {
  const std::vector<figure>& all = measured_figures();
  return *std::find_if(all.begin(), all.end(),
                       [&](const figure& each) { return each.name == name; });
}

std::vector<double> values_of(const compared_candidate& of, const figure& which) {
  std::vector<double> values;
  for (const judged_run& each : of.runs)
    if (counts(each))
      if (const auto value = which.of(each))
        values.push_back(*value);
  return values;
}

std::optional<ratio_estimate> ratio_to_first(const compared_workload& all,
                                             std::size_t candidate_index, const figure& which) {
  if (candidate_index == 0)
    return std::nullopt;
  const std::vector<judged_run>& reference = all.candidates[0].runs;
  std::vector<double> values, of_reference;
  for (const judged_run& each : all.candidates[candidate_index].runs) {
    const auto same_round =
        std::find_if(reference.begin(), reference.end(), [&](const judged_run& other) {
          return other.round == each.round && counts(other);
        });
    if (!counts(each) || same_round == reference.end())
      continue;
    const auto value = which.of(each);
    const auto beside = which.of(*same_round);
    if (!value || !beside || *beside == 0)
      continue;
    values.push_back(*value);
    of_reference.push_back(*beside);
  }
  if (values.empty())
    return std::nullopt;
  return estimate_ratio(values, of_reference);
}

std::size_t compared_workload::index_of(const std::string& name) const {
  const auto found =
      std::find_if(candidates.begin(), candidates.end(),
                   [&](const compared_candidate& each) { return each.what.name == name; });
  return static_cast<std::size_t>(found - candidates.begin());
}

std::vector<std::string> names_of_candidates(const comparison& all) {
  std::vector<std::string> names;
  for (const compared_workload& workload : all.workloads)
    for (const compared_candidate& each : workload.candidates)
      if (std::find(names.begin(), names.end(), each.what.name) == names.end())
        names.push_back(each.what.name);
  return names;
}

std::vector<mean_ratios> means_of(const comparison& all) {
  std::vector<mean_ratios> means;
  const std::string& first = all.workloads[0].candidates[0].what.name;
  for (const std::string& candidate : names_of_candidates(all)) {
    if (candidate == first)
      continue;
    std::vector<double> times, memories;
    bool enters = false;
    for (const compared_workload& each : all.workloads) {
      const std::size_t index = each.index_of(candidate);
      if (index == each.candidates.size() || each.index_of(first) != 0)
        continue;
      enters = enters || !each.what.means.empty();
      const auto add = [&](std::vector<double>& to, const char* name) {
        const std::vector<std::string>& entered = each.what.means;
        if (std::find(entered.begin(), entered.end(), name) == entered.end())
          return;
        const auto ratio = ratio_to_first(each, index, measured_figure(name));
        if (ratio && ratio->ratio > 0)
          to.push_back(ratio->ratio);
      };
      add(times, "time");
      add(memories, "memory");
    }
    if (enters)
      means.push_back({candidate, geometric_mean(times), geometric_mean(memories),
                       std::max(times.size(), memories.size())});
  }
  return means;
}

std::size_t count_failures(const compared_workload& all) {
  std::size_t failed = 0;
  for (const compared_candidate& each : all.candidates)
    failed += static_cast<std::size_t>(
        std::count_if(each.runs.begin(), each.runs.end(), std::not_fn(counts)));
  return failed;
}

const char* words_for(verdict meaning) {
  switch (meaning) {
  case verdict::lower:
    return "lower";
  case verdict::higher:
    return "higher";
  case verdict::no_difference:
    return "no significant difference";
  case verdict::too_few_runs:
    break;
  }
  return "too few runs";
}

std::string verdict_of(const compared_workload& all) {
  const std::string failures = failures_in_words(all);
  if (const std::string none = no_verdict(all); !none.empty())
    return none + failures;
  const figure& time = measured_figure("time");
  const figure& memory = measured_figure("memory");
  if (all.candidates.size() == 2)
    return fmt::format("{} against {}: {}, {}.{}", all.candidates[1].what.name,
                       all.candidates[0].what.name, standing(ratio_to_first(all, 1, time), "time"),
                       standing(ratio_to_first(all, 1, memory), "peak memory"), failures);
  return fmt::format("In time {}; in peak memory {}.{}", leader(all, time, "time", "is fastest"),
                     leader(all, memory, "peak memory", "is smallest"), failures);
}

std::string verdict_of(const comparison& all) {
  if (all.workloads.size() == 1)
    return verdict_of(all.workloads[0]);
  std::vector<std::string> parts;
  for (const mean_ratios& each : means_of(all))
    if (each.time && each.memory)
      parts.push_back(fmt::format("{} takes {:.2f} of the time and {:.2f} of the peak memory",
                                  each.name, *each.time, *each.memory));
  std::size_t failed = 0;
  for (const compared_workload& each : all.workloads)
    failed += count_failures(each);
  const std::string failures = failed == 0 ? "" : fmt::format(" {} runs failed.", failed);
  if (parts.empty())
    return (means_of(all).empty() ? "No workload enters the means."
                                  : "There is nothing to compare.") +
           failures;
  return fmt::format("Over {} workloads, against {} (geometric means): {}.{}", all.workloads.size(),
                     all.workloads[0].candidates[0].what.name, fmt::join(parts, "; "), failures);
}

} // namespace mete::cli
