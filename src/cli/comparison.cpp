// SPDX-License-Identifier: MIT
#include "cli/comparison.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <nlohmann/json.hpp>

namespace mete::cli {
namespace {

constexpr double mib = 1024.0 * 1024.0;

const figure* figure_called(const std::string& name) {
  for (const figure& each : figures())
    if (name == each.name)
      return &each;
  return nullptr;
}

const figure& time_figure() {
  return figures()[0];
}
const figure& memory_figure() {
  return *figure_called("memory");
}
const figure& metric_figure() {
  return figures().back();
}

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

nlohmann::ordered_json json_of_run(const judged_run& each) {
  nlohmann::ordered_json run{{"round", each.round}, {"failure", each.failure}};
  for (const figure& which : figures())
    if (const auto value = which.of(each.run, each.metric))
      run[which.name] = *value;
  run["allocators"] = each.run.allocators;
  nlohmann::ordered_json memory = nlohmann::ordered_json::array();
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

} // namespace

const std::vector<figure>& figures() {
  using run = const measured_run&;
  using metric = std::optional<double>;
  static const std::vector<figure> all{
      {"time", "s", [](run r, metric) -> metric { return r.wall_seconds; }},
      {"cpu", "s", [](run r, metric) -> metric { return r.user_seconds + r.system_seconds; }},
      {"user", "s", [](run r, metric) -> metric { return r.user_seconds; }},
      {"system", "s", [](run r, metric) -> metric { return r.system_seconds; }},
      {"memory", "MiB",
       [](run r, metric) -> metric { return static_cast<double>(r.peak_bytes) / mib; }},
      {"faults", "", [](run r, metric) -> metric { return static_cast<double>(r.page_faults); }},
      {"switches", "",
       [](run r, metric) -> metric { return static_cast<double>(r.context_switches); }},
      {"mappings", "", [](run r, metric) -> metric { return r.mappings; }},
      {"metric", "", [](run, metric m) -> metric { return m; }},
  };
  return all;
}

std::vector<double> values_of(const compared_candidate& of, const figure& which) {
  std::vector<double> values;
  for (const judged_run& each : of.runs)
    if (each.failure.empty())
      if (const auto value = which.of(each.run, each.metric))
        values.push_back(*value);
  return values;
}

std::optional<ratio_estimate> ratio_to_first(const comparison& all, std::size_t candidate_index,
                                             const figure& which) {
  if (candidate_index == 0)
    return std::nullopt;
  const std::vector<judged_run>& reference = all.candidates[0].runs;
  std::vector<double> values, of_reference;
  for (const judged_run& each : all.candidates[candidate_index].runs) {
    const auto same_round =
        std::find_if(reference.begin(), reference.end(), [&](const judged_run& other) {
          return other.round == each.round && other.failure.empty();
        });
    if (!each.failure.empty() || same_round == reference.end())
      continue;
    const auto value = which.of(each.run, each.metric);
    const auto beside = which.of(same_round->run, same_round->metric);
    if (!value || !beside || *beside == 0)
      continue;
    values.push_back(*value);
    of_reference.push_back(*beside);
  }
  if (values.empty())
    return std::nullopt;
  return estimate_ratio(values, of_reference);
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

std::string table_of(const comparison& all, bool colours) {
  const bool with_metric = !all.metric.empty();
  std::string text = fmt::format("{:<14}{:>10} {:>19} {:>6}  {:>9} {:>6} {:>9} {:>9}", "", "time s",
                                 "(min..max)", "ratio", "peak MiB", "ratio", "cpu s", "faults");
  text += with_metric ? fmt::format(" {:>9}\n", "metric") : "\n";
  for (std::size_t index = 0; index < all.candidates.size(); ++index) {
    const compared_candidate& each = all.candidates[index];
    const std::vector<double> times = values_of(each, time_figure());
    text += fmt::format("{:<14.14}", each.what.name);
    if (times.empty()) {
      text += fmt::format("{:>10}\n{}", "failed", failures_of(each));
      continue;
    }
    const summary time = summarise(times);
    const auto time_ratio = ratio_to_first(all, index, time_figure());
    const auto memory_ratio = ratio_to_first(all, index, memory_figure());
    const colour time_colour = colour_of(time_ratio, false, colours);
    const colour memory_colour = colour_of(memory_ratio, false, colours);
    const auto median = [&](const char* name) {
      return summarise(values_of(each, *figure_called(name))).median;
    };
    text += fmt::format(
        "{:>10} {:>19} {}{:>6}{}  {:>9.1f} {}{:>6}{} {:>9} {:>9.0f}", precise(time.median),
        fmt::format("({}..{})", precise(time.low), precise(time.high)), time_colour.begin,
        ratio_text(time_ratio), time_colour.end, median("memory"), memory_colour.begin,
        ratio_text(memory_ratio), memory_colour.end, precise(median("cpu")), median("faults"));
    if (with_metric) {
      const colour around = colour_of(ratio_to_first(all, index, metric_figure()),
                                      all.metric_higher_is_better, colours);
      text += fmt::format(" {}{:>9}{}", around.begin, precise(median("metric")), around.end);
    }
    text += "\n" + failures_of(each);
  }
  text += fmt::format("Medians; ratios are to {}, with * where the 95 % interval leaves out 1.\n",
                      all.candidates[0].what.name);
  return text;
}

std::string json_of(const comparison& all) {
  nlohmann::ordered_json root;
  root["program"] = all.program;
  root["machine"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : all.machine)
    root["machine"][name] = value;
  if (!all.metric.empty())
    root["metric"] = {{"pattern", all.metric},
                      {"better", all.metric_higher_is_better ? "higher" : "lower"}};
  root["memory_samples"] = {"second", "resident_bytes", "lazily_freed_bytes"};
  for (std::size_t index = 0; index < all.candidates.size(); ++index) {
    const compared_candidate& each = all.candidates[index];
    nlohmann::ordered_json entry{
        {"name", each.what.name}, {"library", each.what.library}, {"version", each.what.version}};
    for (const figure& which : figures()) {
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
    for (const judged_run& run : each.runs)
      entry["runs"].push_back(json_of_run(run));
    root["candidates"].push_back(std::move(entry));
  }
  return root.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string csv_of(const comparison& all) {
  std::string text = "allocator,version,round,failure";
  for (const figure& which : figures())
    text += fmt::format(",{}", which.name);
  text += "\n";
  for (const compared_candidate& each : all.candidates)
    for (const judged_run& run : each.runs) {
      text += fmt::format("{},{},{},{}", quoted(each.what.name), quoted(each.what.version),
                          run.round, quoted(run.failure));
      for (const figure& which : figures()) {
        const auto value = which.of(run.run, run.metric);
        text += value ? fmt::format(",{}", *value) : ",";
      }
      text += "\n";
    }
  return text;
}

condition::condition(const std::string& text, const std::vector<std::string>& candidates) {
  const auto fail = [&](const std::string& what) {
    throw command_error(status_usage, fmt::format("--fail-if '{}': {}; write for instance "
                                                  "'mete.time > 1.05 * glibc.time'",
                                                  text, what));
  };
  std::vector<factor>* side = &m_left;
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
        const std::string name = dot == word.npos ? "" : word.substr(dot + 1);
        const figure* const which = figure_called(name);
        next.candidate = word.substr(0, std::min(dot, word.size()));
        if (which == nullptr) {
          std::vector<std::string> names;
          for (const figure& each : figures())
            names.emplace_back(each.name);
          fail(fmt::format("'{}' is neither a number nor allocator.figure, with a figure of {}",
                           word, fmt::join(names, ", ")));
        }
        if (std::find(candidates.begin(), candidates.end(), next.candidate) == candidates.end())
          fail(fmt::format("'{}' is not compared", next.candidate));
        next.figure_index = static_cast<std::size_t>(which - figures().data());
      }
      side->push_back(next);
      factor_expected = false;
      at = end;
    } else if (now == '*') {
      factor_expected = true;
      ++at;
    } else if ((now == '<' || now == '>') && side == &m_left) {
      const bool equal = at + 1 < text.size() && text[at + 1] == '=';
      m_relation = now == '<' ? (equal ? relation::less_equal : relation::less)
                              : (equal ? relation::greater_equal : relation::greater);
      side = &m_right;
      factor_expected = true;
      at += equal ? 2 : 1;
    } else {
      fail(fmt::format("'{}' is not understood", text.substr(at)));
    }
  }
  if (factor_expected || side == &m_left)
    fail("something is missing");
}

double condition::product(const std::vector<factor>& factors, const comparison& all) {
  double result = 1;
  for (const factor& each : factors) {
    if (each.candidate.empty()) {
      result *= each.number;
      continue;
    }
    for (const compared_candidate& candidate : all.candidates) {
      if (candidate.what.name != each.candidate)
        continue;
      const std::vector<double> values = values_of(candidate, figures()[each.figure_index]);
      if (values.empty())
        throw command_error(1, fmt::format("--fail-if: '{}' has no run that counts with a {}",
                                           each.candidate, figures()[each.figure_index].name));
      result *= summarise(values).median;
    }
  }
  return result;
}

bool condition::holds(const comparison& all) const {
  const double left = product(m_left, all);
  const double right = product(m_right, all);
  switch (m_relation) {
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
