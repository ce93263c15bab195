// SPDX-License-Identifier: MIT
#include "cli/comparison_output.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace mete::cli {
namespace {

std::string precise(double value) {
  return value >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value);
}

// "0.49 *": the ratio, and whether it means anything. Empty for the first candidate.
std::string ratio_text(const std::optional<ratio_estimate>& ratio) {
  if (!ratio)
    return "";
  const bool clear = ratio->meaning == verdict::lower || ratio->meaning == verdict::higher;
  return fmt::format("{:.2f}{}", ratio->ratio, clear ? "*" : " ");
}

struct colour {
  const char* begin;
  const char* end;
};

// Lower is better for every figure but, perhaps, the metric.
colour colour_of(const std::optional<ratio_estimate>& ratio, bool higher_is_better, bool colours) {
  if (!colours || !ratio || (ratio->meaning != verdict::lower && ratio->meaning != verdict::higher))
    return {"", ""};
  const bool better = (ratio->meaning == verdict::higher) == higher_is_better;
  return {better ? "\033[32m" : "\033[31m", "\033[0m"};
}

std::string failures_of(const compared_candidate& each) {
  const auto failed = std::find_if(each.runs.begin(), each.runs.end(),
                                   [](const judged_run& run) { return !run.failure.empty(); });
  if (failed == each.runs.end())
    return "";
  const auto count = std::count_if(each.runs.begin(), each.runs.end(),
                                   [](const judged_run& run) { return !run.failure.empty(); });
  return fmt::format("  {} of {} runs failed; the first: {}\n", count, each.runs.size(),
                     failed->failure);
}

nlohmann::ordered_json json_of_summary(const std::vector<double>& values) {
  const summary all = summarise(values);
  return {{"median", all.median}, {"lowest", all.low}, {"highest", all.high}};
}

nlohmann::ordered_json json_of_run(const judged_run& each, const std::vector<figure>& figures,
                                   bool with_samples) {
  nlohmann::ordered_json run{{"round", each.round}, {"failure", each.failure}};
  for (const figure& which : figures)
    if (const auto value = which.of(each))
      run[which.name] = *value;
  run["malloc"] = each.run.malloc_file;
  nlohmann::ordered_json memory = nlohmann::ordered_json::array();
  if (with_samples)
    for (const memory_sample& sample : each.run.memory)
      memory.push_back({sample.second, sample.resident_bytes, sample.lazily_freed_bytes});
  run["memory_samples"] = std::move(memory);
  return run;
}

std::string quoted(std::string text) {
  if (text.find_first_of(",\"\n") == text.npos)
    return text;
  for (std::size_t at = 0; (at = text.find('"', at)) != text.npos; at += 2)
    text.insert(at, 1, '"');
  return '"' + text + '"';
}

// The one in the middle by time, of two the faster; null if none counts.
const judged_run* median_run(const compared_candidate& of) {
  std::vector<const judged_run*> counting;
  for (const judged_run& each : of.runs)
    if (each.failure.empty())
      counting.push_back(&each);
  std::stable_sort(counting.begin(), counting.end(), [](const judged_run* a, const judged_run* b) {
    return a->run.wall_seconds < b->run.wall_seconds;
  });
  return counting.empty() ? nullptr : counting[(counting.size() - 1) / 2];
}

nlohmann::ordered_json json_of_candidate(const compared_workload& all, std::size_t index,
                                         memory_samples which_samples) {
  const compared_candidate& each = all.candidates[index];
  nlohmann::ordered_json entry{{"name", each.what.name},
                               {"library", each.what.library},
                               {"version", each.what.version},
                               {"command", command_line_of(all.what, each.what)},
                               {"figures", nlohmann::ordered_json::object()}};
  const std::vector<figure> figures = figures_of(all);
  for (const figure& which : figures) {
    const std::vector<double> values = values_of(each, which);
    if (values.empty())
      continue;
    nlohmann::ordered_json of_figure = json_of_summary(values);
    of_figure["unit"] = which.unit;
    if (const auto ratio = ratio_to_first(all, index, which))
      of_figure["ratio"] = {{"value", ratio->ratio},
                            {"low", ratio->low},
                            {"high", ratio->high},
                            {"verdict", words_for(ratio->meaning)}};
    entry["figures"][which.name] = std::move(of_figure);
  }
  entry["runs"] = nlohmann::ordered_json::array();
  const judged_run* const median = median_run(each);
  for (const judged_run& run : each.runs)
    entry["runs"].push_back(
        json_of_run(run, figures, which_samples == memory_samples::of_all_runs || &run == median));
  return entry;
}

nlohmann::ordered_json json_of_workload(const compared_workload& all, memory_samples which) {
  nlohmann::ordered_json entry{{"name", all.what.name},       {"verdict", verdict_of(all)},
                               {"program", all.what.program}, {"setup", all.what.setup},
                               {"client", all.what.client},   {"check", all.what.check},
                               {"means", all.what.means}};
  if (!all.what.metric.empty())
    entry["metric"] = {{"pattern", all.what.metric},
                       {"better", all.what.lower_metric_is_better ? "lower" : "higher"}};
  for (std::size_t index = 0; index < all.candidates.size(); ++index)
    entry["candidates"].push_back(json_of_candidate(all, index, which));
  return entry;
}

std::vector<figure> metrics_of(const compared_workload& all) {
  std::vector<figure> figures = figures_of(all);
  figures.erase(figures.begin(),
                figures.begin() + static_cast<std::ptrdiff_t>(measured_figures().size()));
  return figures;
}

// "7862" or "441  0.06*": the median, and the ratio where there is one.
std::string metric_cell(const compared_workload& all, std::size_t index, const figure& metric,
                        bool colours) {
  const std::vector<double> values = values_of(all.candidates[index], metric);
  const auto ratio = ratio_to_first(all, index, metric);
  const colour around = colour_of(ratio, !all.what.lower_metric_is_better, colours);
  return fmt::format("{:>9} {}{:>6}{}", values.empty() ? "-" : precise(summarise(values).median),
                     around.begin, ratio_text(ratio), around.end);
}

// A line for each metric, a column for each candidate, as many as fit into 100 columns.
std::string table_of_metrics(const compared_workload& all, const std::vector<figure>& metrics,
                             bool colours) {
  constexpr std::size_t candidates_in_line = 5;
  std::string text;
  for (std::size_t begin = 0; begin < all.candidates.size(); begin += candidates_in_line) {
    const std::size_t end = std::min(begin + candidates_in_line, all.candidates.size());
    text += fmt::format("{:<14}", "");
    for (std::size_t index = begin; index < end; ++index)
      text +=
          fmt::format(" {:>9.9} {:>6}", all.candidates[index].what.name, index == 0 ? "" : "ratio");
    text += "\n";
    for (const figure& metric : metrics) {
      text += fmt::format("{:<14.14}", metric.name);
      for (std::size_t index = begin; index < end; ++index)
        text += " " + metric_cell(all, index, metric, colours);
      text += "\n";
    }
  }
  return text;
}

std::string mean_text(const std::optional<double>& mean) {
  return mean ? fmt::format("{:.3f}", *mean) : "-";
}

} // namespace

std::string table_of(const compared_workload& all, bool colours) {
  const std::vector<figure> metrics = metrics_of(all);
  const bool with_metric = metrics.size() == 1; // more of them get lines of their own
  std::string text = fmt::format("{:<14}{:>10} {:>19} {:>6}  {:>9} {:>6} {:>9} {:>9}", "", "time s",
                                 "(min..max)", "ratio", "peak MiB", "ratio", "cpu s", "faults");
  text += with_metric ? fmt::format(" {:>9.9}\n", metrics[0].name) : "\n";
  for (std::size_t index = 0; index < all.candidates.size(); ++index) {
    const compared_candidate& each = all.candidates[index];
    const std::vector<double> times = values_of(each, measured_figure("time"));
    text += fmt::format("{:<14.14}", each.what.name);
    if (times.empty()) {
      text += fmt::format("{:>10}\n{}", "failed", failures_of(each));
      continue;
    }
    const summary time = summarise(times);
    const auto time_ratio = ratio_to_first(all, index, measured_figure("time"));
    const auto memory_ratio = ratio_to_first(all, index, measured_figure("memory"));
    const colour time_colour = colour_of(time_ratio, false, colours);
    const colour memory_colour = colour_of(memory_ratio, false, colours);
    const auto median = [&](const char* name) {
      return summarise(values_of(each, measured_figure(name))).median;
    };
    text += fmt::format(
        "{:>10} {:>19} {}{:>6}{}  {:>9.1f} {}{:>6}{} {:>9} {:>9.0f}", precise(time.median),
        fmt::format("({}..{})", precise(time.low), precise(time.high)), time_colour.begin,
        ratio_text(time_ratio), time_colour.end, median("memory"), memory_colour.begin,
        ratio_text(memory_ratio), memory_colour.end, precise(median("cpu")), median("faults"));
    if (with_metric) {
      const colour around = colour_of(ratio_to_first(all, index, metrics[0]),
                                      !all.what.lower_metric_is_better, colours);
      text += fmt::format(" {}{:>9}{}", around.begin,
                          precise(summarise(values_of(each, metrics[0])).median), around.end);
    }
    text += "\n" + failures_of(each);
  }
  if (metrics.size() > 1)
    text += table_of_metrics(all, metrics, colours);
  text += fmt::format("Medians; ratios are to {}, with * where the 95 % interval leaves out 1.\n",
                      all.candidates[0].what.name);
  return text;
}

std::string table_of_means(const comparison& all) {
  std::string text =
      fmt::format("{:<14}{:>10} {:>12} {:>10}\n", "Means", "time", "peak memory", "workloads");
  for (const mean_ratios& each : means_of(all))
    text += fmt::format("{:<14.14}{:>10} {:>12} {:>10}\n", each.name, mean_text(each.time),
                        mean_text(each.memory), each.workloads);
  return text + fmt::format("Geometric means of the ratios to {}.\n",
                            all.workloads[0].candidates[0].what.name);
}

std::string json_of(const comparison& all, memory_samples which) {
  nlohmann::ordered_json root{
      {"format", "mete-compare 1"},
      {"title", all.title},
      {"verdict", verdict_of(all)},
      {"command", all.command},
      {"machine", nlohmann::ordered_json::object()},
      {"memory_samples", {"second", "resident_bytes", "lazily_freed_bytes"}},
      {"means", nlohmann::ordered_json::array()}};
  for (const auto& [name, value] : all.machine)
    root["machine"][name] = value;
  if (all.workloads.size() > 1)
    for (const mean_ratios& each : means_of(all)) {
      nlohmann::ordered_json mean{{"name", each.name}, {"workloads", each.workloads}};
      if (each.time)
        mean["time"] = *each.time;
      if (each.memory)
        mean["memory"] = *each.memory;
      root["means"].push_back(std::move(mean));
    }
  for (const compared_workload& each : all.workloads)
    root["workloads"].push_back(json_of_workload(each, which));
  return root.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string csv_of(const comparison& all) {
  std::string text = "workload,allocator,version,round,failure";
  for (const figure& which : measured_figures())
    text += fmt::format(",{}", which.name);
  text += ",metrics\n";
  for (const compared_workload& workload : all.workloads)
    for (const compared_candidate& each : workload.candidates)
      for (const judged_run& run : each.runs) {
        text += fmt::format("{},{},{},{},{}", quoted(workload.what.name), quoted(each.what.name),
                            quoted(each.what.version), run.round, quoted(run.failure));
        for (const figure& which : measured_figures())
          text += fmt::format(",{}", which.of(run).value());
        std::vector<std::string> metrics;
        for (const auto& [name, value] : run.metrics)
          metrics.push_back(fmt::format("{}={}", name, value));
        text += fmt::format(",{}\n", quoted(fmt::format("{}", fmt::join(metrics, " "))));
      }
  return text;
}

} // namespace mete::cli
