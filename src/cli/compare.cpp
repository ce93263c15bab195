// SPDX-License-Identifier: MIT
#include "cli/compare.hpp"

#include "cli/command.hpp"
#include "cli/comparison.hpp"
#include "cli/machine.hpp"
#include "cli/program.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <regex>
#include <unistd.h>

namespace mete::cli {
namespace {

constexpr const char* compare_name = "compare";
constexpr int status_worse = 1; // a run failed, or --fail-if holds
constexpr std::size_t tail_bytes = 300;

volatile int interrupted = 0;
void note_interrupt(int) {
  interrupted = 1;
}

struct compare_options {
  std::vector<std::string> allocators;
  std::string mete_library;
  unsigned runs = 5;
  unsigned warmup = 1;
  double timeout_seconds = 0;
  std::string metric;
  bool lower_is_better = false;
  std::string json;
  std::string csv;
  std::string fail_if;
  std::vector<std::string> program;
};

std::unique_ptr<CLI::App> make_compare_parser(compare_options& options) {
  auto parser = make_parser("Runs a program on several allocators, in turn, and says what differs.",
                            "mete compare [options] [--] program [args...]");
  parser
      ->add_option("-a,--allocators", options.allocators,
                   "Names or paths of libraries. The first is what the\n"
                   "others are compared with. Default: glibc, mete, and\n"
                   "whatever else is installed")
      ->type_name("NAME,...")
      ->delimiter(',');
  parser->add_option("-l,--library", options.mete_library, "The libmete.so that is mete")
      ->type_name("PATH");
  parser->add_option("-n,--runs", options.runs, "Measured runs of each (default: 5)")
      ->type_name("N")
      ->check(CLI::Range(1, 10000));
  parser->add_option("--warmup", options.warmup, "Runs of each before that (default: 1)")
      ->type_name("N")
      ->check(CLI::Range(0, 10000));
  parser->add_option("--timeout", options.timeout_seconds, "End a run after this long")
      ->type_name("SECONDS")
      ->check(CLI::PositiveNumber);
  parser
      ->add_option("--metric", options.metric,
                   "A number that the program prints: a regular\n"
                   "expression with one group")
      ->type_name("REGEX");
  parser->add_flag("--lower-is-better", options.lower_is_better,
                   "Of the metric (default: higher is better)");
  parser->add_option("--json", options.json, "Write everything to this file")->type_name("FILE");
  parser->add_option("--csv", options.csv, "Write a line for each run to this file")
      ->type_name("FILE");
  parser
      ->add_option("--fail-if", options.fail_if,
                   "Exit with 1 if this holds, such as\n"
                   "'mete.time > 1.05 * glibc.time'")
      ->type_name("CONDITION");
  parser->footer("Exit status: 0; 1 when a run failed or --fail-if holds; 2 for a wrong call; 125\n"
                 "when mete failed, 126 and 127 when the program cannot be executed or found.\n\n"
                 "Example: mete compare -a glibc,mete,jemalloc -- python3 job.py");
  return parser;
}

void parse(CLI::App& parser, compare_options& options, const std::vector<std::string>& arguments) {
  split_arguments split = split_at_program(parser, arguments);
  parser.parse(std::vector<std::string>(split.own.rbegin(), split.own.rend())); // last one first
  options.program = std::move(split.program);
  if (options.program.empty())
    throw command_error(status_usage, "no program named; try: mete compare -- program args...");
}

std::optional<std::regex> compile_metric(const std::string& pattern) {
  if (pattern.empty())
    return std::nullopt;
  try {
    std::regex compiled(pattern, std::regex::ECMAScript);
    if (compiled.mark_count() != 1)
      throw command_error(status_usage,
                          fmt::format("--metric '{}' has {} groups, not one; write the number in "
                                      "parentheses: 'rate: ([0-9.]+)'",
                                      pattern, compiled.mark_count()));
    return compiled;
  } catch (const std::regex_error& error) {
    throw command_error(status_usage, fmt::format("--metric '{}' is no regular expression: {}",
                                                  pattern, error.what()));
  }
}

// The last match counts: programs print progress before the result.
std::optional<double> find_metric(const std::string& output, const std::regex& pattern) {
  std::optional<double> found;
  for (std::sregex_iterator match(output.begin(), output.end(), pattern), end; match != end;
       ++match) {
    const std::string text = (*match)[1];
    char* rest = nullptr;
    const double value = std::strtod(text.c_str(), &rest);
    if (!text.empty() && *rest == '\0')
      found = value;
  }
  return found;
}

// The last lines of what a program printed, on one line.
std::string tail_of(const std::string& output) {
  std::string tail = output.substr(output.size() - std::min(output.size(), tail_bytes));
  while (!tail.empty() && tail.back() == '\n')
    tail.pop_back();
  for (std::size_t at = 0; (at = tail.find('\n', at)) != tail.npos; at += 3)
    tail.replace(at, 1, " | ");
  return tail.empty() ? "it printed nothing" : "its last words: " + tail;
}

// Why a run does not count; empty if it does.
std::string failure_of(const measured_run& run, const candidate& what) {
  switch (run.end) {
  case run_end::timed_out:
    return fmt::format("it took longer than --timeout; {}", tail_of(run.output));
  case run_end::interrupted:
    return "interrupted";
  case run_end::killed:
    return fmt::format("killed by signal {} ({}); {}", run.status, ::strsignal(run.status),
                       tail_of(run.output));
  case run_end::exited:
    break;
  }
  if (run.status != 0)
    return fmt::format("exit status {}; {}", run.status, tail_of(run.output));
  if (!what.library.empty() && !run.preloaded_was_mapped)
    return fmt::format("'{}' was not loaded into it: it may be static, setuid, of another "
                       "architecture, or drop LD_PRELOAD",
                       what.library);
  // The loader takes the preloaded library before all others; without one, what the program brings.
  if (what.library.empty() && !run.allocators.empty())
    return fmt::format("the program brings an allocator of its own: {}",
                       fmt::join(run.allocators, ", "));
  return {};
}

std::vector<candidate> find_candidates(const compare_options& options) {
  std::vector<candidate> found;
  if (options.allocators.empty()) {
    usual_candidates usual = find_usual_candidates(options.mete_library);
    for (const std::string& line : usual.missing)
      report(compare_name, line);
    return usual.found;
  }
  for (const std::string& name : options.allocators) {
    candidate next = find_candidate(name, options.mete_library);
    const bool twice = std::any_of(found.begin(), found.end(),
                                   [&](const candidate& other) { return other.name == next.name; });
    if (twice)
      throw command_error(status_usage, fmt::format("'{}' is named twice", next.name));
    found.push_back(std::move(next));
  }
  return found;
}

// A line that is written over and over, on a terminal only.
class progress {
public:
  explicit progress(std::size_t steps) : m_steps(steps), m_shown(::isatty(2) != 0) {}
  ~progress() {
    if (m_shown)
      std::fputs("\r\033[K", stderr);
  }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  void next(const std::string& what) {
    ++m_step;
    if (m_shown)
      fmt::print(stderr, "\r\033[K[{}/{}] {}", m_step, m_steps, what);
  }

private:
  std::size_t m_steps;
  std::size_t m_step = 0;
  bool m_shown;
};

void measure_all(comparison& all, const compare_options& options,
                 const std::optional<std::regex>& metric) {
  progress shown((options.runs + options.warmup) * all.candidates.size());
  for (std::size_t round = 0; round < options.warmup + options.runs; ++round)
    for (compared_candidate& each : all.candidates) {
      const bool counts = round >= options.warmup;
      shown.next(fmt::format("{}, {} {}", each.what.name, counts ? "run" : "warm-up",
                             counts ? round - options.warmup + 1 : round + 1));
      judged_run judged;
      judged.run = run_measured(
          {options.program, each.what.library,
           std::chrono::milliseconds(static_cast<long>(options.timeout_seconds * 1000))},
          &interrupted);
      if (interrupted != 0)
        return;
      if (!counts)
        continue;
      judged.round = round - options.warmup + 1;
      judged.failure = failure_of(judged.run, each.what);
      if (metric && judged.failure.empty()) {
        judged.metric = find_metric(judged.run.output, *metric);
        if (!judged.metric)
          judged.failure = fmt::format("it printed nothing that matches --metric; {}",
                                       tail_of(judged.run.output));
      }
      judged.run.output.clear();
      each.runs.push_back(std::move(judged));
    }
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    throw command_error(status_failed,
                        fmt::format("cannot write '{}': {}", path, std::strerror(errno)));
}

// Before hours of measuring, not after.
void check_writable(const std::string& path) {
  if (path.empty())
    return;
  const bool existed = std::filesystem::exists(path);
  const bool writable = std::ofstream(path, std::ios::app).good();
  const int error = errno;
  if (!existed)
    std::filesystem::remove(path);
  if (!writable)
    throw command_error(status_usage,
                        fmt::format("cannot write '{}': {}", path, std::strerror(error)));
}

bool any_failure(const comparison& all) {
  for (const compared_candidate& each : all.candidates)
    for (const judged_run& run : each.runs)
      if (!run.failure.empty())
        return true;
  return false;
}

void print_machine(const comparison& all) {
  for (const auto& [name, value] : all.machine)
    fmt::print("{:<14}{}\n", name, value);
  for (const compared_candidate& each : all.candidates)
    fmt::print("{:<14}{}{}{}\n", each.what.name,
               each.what.library.empty() ? "the C library's malloc" : each.what.library,
               each.what.version.empty() ? "" : ", version ", each.what.version);
  fmt::print("\n");
}

int compare(const compare_options& options) {
  find_program(options.program); // says clearly if there is none
  const std::optional<std::regex> metric = compile_metric(options.metric);
  comparison all;
  all.program = options.program;
  all.metric = options.metric;
  all.metric_higher_is_better = !options.lower_is_better;
  std::vector<std::string> names;
  for (candidate& each : find_candidates(options)) {
    names.push_back(each.name);
    all.candidates.push_back({std::move(each), {}});
  }
  std::optional<condition> fail_if;
  if (!options.fail_if.empty())
    fail_if.emplace(options.fail_if, names);
  check_writable(options.json);
  check_writable(options.csv);
  all.machine = machine_facts();

  struct sigaction on_interrupt {};
  on_interrupt.sa_handler = note_interrupt;
  ::sigaction(SIGINT, &on_interrupt, nullptr);
  ::sigaction(SIGTERM, &on_interrupt, nullptr);
  print_machine(all);
  std::fflush(stdout);
  measure_all(all, options, metric);

  fmt::print("{}", table_of(all, ::isatty(1) != 0));
  if (!options.json.empty())
    write_file(options.json, json_of(all));
  if (!options.csv.empty())
    write_file(options.csv, csv_of(all));
  if (interrupted != 0) {
    report(compare_name, "interrupted; what was measured so far is above");
    return 128 + SIGINT;
  }
  if (fail_if && fail_if->holds(all)) {
    report(compare_name, fmt::format("--fail-if holds: {}", options.fail_if));
    return status_worse;
  }
  return any_failure(all) ? status_worse : 0;
}

} // namespace

int compare_command(const std::vector<std::string>& arguments) {
  compare_options options;
  const auto parser = make_compare_parser(options);
  return call_reporting(compare_name, *parser, status_usage, [&] {
    parse(*parser, options, arguments);
    return compare(options);
  });
}

} // namespace mete::cli
