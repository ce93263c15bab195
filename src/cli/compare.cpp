// SPDX-License-Identifier: MIT
#include "cli/compare.hpp"

#include "cli/command.hpp"
#include "cli/comparison_output.hpp"
#include "cli/condition.hpp"
#include "cli/experiment.hpp"
#include "cli/machine.hpp"
#include "cli/report.hpp"
#include "cli/suite.hpp"

#include <CLI/App.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <unistd.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* compare_name = "compare";
constexpr int status_worse = 1; // a run failed, or --fail-if holds

constinit stop_flag interrupted{false};
void note_interrupt(int) {
  interrupted.store(true, std::memory_order_relaxed);
}

struct compare_options {
  suite plan; // of the file, if one is named
  workload single;
  bool from_file = false;
  std::vector<std::string> only; // of the workloads in the file
  std::string mete_library;
  double timeout_seconds = 0;
  std::string report;
  std::string json;
  std::string csv;
  std::string command; // as it was typed
};

// What belongs to one workload, and stands in the file where there is one.
void add_workload_options(CLI::App& parser, workload& single) {
  const auto add = [&](const char* name, std::string& value, const char* type, const char* help) {
    parser.add_option(name, value, help)->type_name(type)->group("The program");
  };
  add("--metric", single.metric, "REGEX",
      "A number that the program, or the client, prints:\n"
      "a regular expression with one group, or with two:\n"
      "the name of the number, and the number");
  parser
      .add_flag("--lower-is-better", single.lower_metric_is_better,
                "Of the metric (default: higher is better)")
      ->group("The program");
  add("--setup", single.setup, "COMMAND", "For the shell, before each run; not measured");
  add("--check", single.check, "COMMAND",
      "For the shell, after each run, to read its output:\n"
      "has to succeed and to say the same each time");
  add("--input", single.input, "FILE", "What the program reads (default: nothing)");
  parser.add_flag("--scratch", single.scratch, "Run in an empty folder, removed after each run")
      ->group("The program");
  add("--client", single.client, "COMMAND",
      "For the shell. The program is a server; this starts\n"
      "when it listens, and its time counts. After it the\n"
      "server gets SIGTERM");
  parser.add_option("--ready-port", single.ready_port, "Await this TCP port (default: any socket)")
      ->type_name("PORT")
      ->check(CLI::Range(1, 65535))
      ->group("The program");
  add("--ready-line", single.ready_line, "REGEX", "Await this output of the server instead");
}

std::unique_ptr<CLI::App> make_compare_parser(compare_options& options) {
  auto parser = make_parser("Runs programs on several allocators, in turn, and says what differs.",
                            "mete compare [options] [--] program [args...]\n"
                            "       mete compare [options] suite.toml");
  suite& plan = options.plan;
  parser
      ->add_option("-a,--allocators", plan.allocators,
                   "Names or paths of libraries. The first is what the\n"
                   "others are compared with. Default: glibc, mete, and\n"
                   "whatever else is installed")
      ->type_name("NAME,...")
      ->delimiter(',');
  parser->add_option("-l,--library", options.mete_library, "The libmete.so that is mete")
      ->type_name("PATH");
  parser->add_option("-n,--runs", plan.runs, "Measured runs of each (default: 5)")
      ->type_name("N")
      ->check(CLI::Range(1, 10000));
  parser->add_option("--warmup", plan.warmup, "Runs of each before that (default: 1)")
      ->type_name("N")
      ->check(CLI::Range(0, 10000));
  parser->add_option("--timeout", options.timeout_seconds, "End a run after this long")
      ->type_name("SECONDS")
      ->check(CLI::PositiveNumber);
  parser->add_option("-w,--workload", options.only, "Only these of a suite")
      ->type_name("NAME,...")
      ->delimiter(',');
  parser->add_option("-o,--output", options.report, "Write the report, a page of HTML")
      ->type_name("FILE");
  parser->add_option("--json", options.json, "Write everything to this file")->type_name("FILE");
  parser->add_option("--csv", options.csv, "Write a line for each run to this file")
      ->type_name("FILE");
  parser
      ->add_option("--fail-if", plan.fail_if,
                   "Exit with 1 if this holds, such as\n"
                   "'mete.time > 1.05 * glibc.time'")
      ->type_name("CONDITION");
  add_workload_options(*parser, options.single);
  parser->footer("Exit status: 0; 1 when a run failed or --fail-if holds; 2 for a wrong call; 125\n"
                 "when mete failed, 126 and 127 when the program cannot be executed or found.\n\n"
                 "Example: mete compare -a glibc,mete,jemalloc -- python3 job.py");
  return parser;
}

void parse_own(CLI::App& parser, const std::vector<std::string>& own) {
  parser.parse(std::vector<std::string>(own.rbegin(), own.rend())); // last one first
}

// "suite.toml" stands where a program would, and options may follow it.
bool names_suite(const split_arguments& split) {
  return !split.marked && !split.program.empty() && split.program[0].ends_with(".toml");
}

// The file first, so that what is typed has the last word.
void parse_with_suite(CLI::App& parser, compare_options& options, split_arguments split) {
  const std::string path = split.program[0];
  split.own.insert(split.own.end(), split.program.begin() + 1, split.program.end());
  options.plan = read_suite(path);
  options.from_file = true;
  // Libraries in it start from its folder.
  const fs::path folder = fs::absolute(path).parent_path();
  for (std::string& each : options.plan.allocators)
    if (each.find('/') != std::string::npos)
      each = (folder / each).string();
  parse_own(parser, split.own);
  for (const CLI::Option* each : parser.get_options())
    if (each->get_group() == "The program" && each->count() > 0)
      throw command_error(status_usage, fmt::format("{} belongs to one program; write it into '{}'",
                                                    each->get_name(), path));
  for (std::string* file : {&options.report, &options.json, &options.csv, &options.mete_library})
    if (!file->empty())
      *file = fs::absolute(*file).string();
  for (std::string& each : options.plan.allocators)
    if (each.find('/') != std::string::npos)
      each = fs::absolute(each).string();
  // Everything else in it does, too; commands that run elsewhere find it by this.
  fs::current_path(folder);
  ::setenv("METE_SUITE_FOLDER", folder.c_str(), 1);
}

void choose_workloads(compare_options& options) {
  if (options.only.empty())
    return;
  std::vector<workload> chosen;
  for (const std::string& name : options.only) {
    const auto found = std::find_if(options.plan.workloads.begin(), options.plan.workloads.end(),
                                    [&](const workload& each) { return each.name == name; });
    if (found == options.plan.workloads.end())
      throw command_error(status_usage, fmt::format("--workload '{}' is not in the suite", name));
    chosen.push_back(*found);
  }
  options.plan.workloads = std::move(chosen);
}

void parse(CLI::App& parser, compare_options& options, const std::vector<std::string>& arguments) {
  options.command = "mete compare " + quoted_for_shell(arguments);
  split_arguments split = split_at_program(parser, arguments);
  if (names_suite(split)) {
    parse_with_suite(parser, options, std::move(split));
  } else {
    parse_own(parser, split.own);
    if (split.program.empty())
      throw command_error(status_usage, "no program named; try: mete compare -- program args...");
    if (!options.only.empty())
      throw command_error(status_usage, "--workload chooses from a suite; name one: suite.toml");
    options.single.name = fs::path(split.program[0]).filename().string();
    options.single.program = std::move(split.program);
    options.plan.title = options.single.name;
    options.plan.workloads.push_back(options.single);
  }
  choose_workloads(options);
  if (parser.count("--timeout") > 0)
    for (workload& each : options.plan.workloads)
      each.timeout = std::chrono::milliseconds(static_cast<long>(options.timeout_seconds * 1000));
}

// A candidate of the suite runs on an allocator, whose library and version it has unless it names a
// package.
candidate find_suite_candidate(const suite_candidate& wanted, const std::string& mete_library) {
  candidate result = find_candidate(wanted.allocator, mete_library);
  result.name = wanted.name;
  result.arguments = wanted.arguments;
  if (!wanted.package.empty())
    result.version = installed_version(wanted.package);
  return result;
}

candidate find_named(const std::string& name, const compare_options& options) {
  for (const suite_candidate& each : options.plan.candidates)
    if (each.name == name)
      return find_suite_candidate(each, options.mete_library);
  return find_candidate(name, options.mete_library);
}

std::vector<candidate> find_candidates(const compare_options& options) {
  std::vector<candidate> found;
  if (options.plan.allocators.empty() && options.plan.candidates.empty()) {
    usual_candidates usual = find_usual_candidates(options.mete_library);
    for (const std::string& line : usual.missing)
      report(compare_name, line);
    return usual.found;
  }
  std::vector<std::string> names = options.plan.allocators;
  if (names.empty())
    for (const suite_candidate& each : options.plan.candidates)
      names.push_back(each.name);
  for (const std::string& name : names) {
    candidate next = find_named(name, options);
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
  explicit progress(std::size_t steps) : steps_(steps), shown_(::isatty(2) != 0) {}
  ~progress() { clear(); }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  void next(const std::string& what) {
    ++step_;
    if (shown_)
      fmt::print(stderr, "\r\033[K[{}/{}] {}", step_, steps_, what);
  }
  void clear() const {
    if (shown_)
      std::fputs("\r\033[K", stderr);
  }

private:
  std::size_t steps_;
  std::size_t step_ = 0;
  bool shown_;
};

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

void print_machine(const comparison& all, const std::vector<candidate>& candidates) {
  for (const auto& [name, value] : all.machine)
    fmt::print("{:<14}{}\n", name, value);
  for (const candidate& each : candidates)
    fmt::print("{:<14}{}{}{}{}{}\n", each.name,
               each.as_shipped        ? "what the program brings"
               : each.library.empty() ? "the C library's malloc"
                                      : each.library,
               each.arguments.empty() ? "" : ", with ", quoted_for_shell(each.arguments),
               each.version.empty() ? "" : ", version ", each.version);
  fmt::print("\n");
}

// In a suite, whose workload it is that cannot run is worth knowing.
prepared_workload prepare_naming(workload& what, bool from_file) {
  try {
    return prepare(what);
  } catch (const command_error& error) {
    throw command_error(error.status(), from_file ? fmt::format("{}: {}", what.name, error.what())
                                                  : std::string(error.what()));
  }
}

bool takes_part(const workload& in, const candidate& what) {
  return in.allocators.empty() ||
         std::find(in.allocators.begin(), in.allocators.end(), what.name) != in.allocators.end();
}

// Those that none of the candidates takes part in.
void leave_out_workloads(std::vector<workload>& workloads, std::vector<prepared_workload>& prepared,
                         const std::vector<candidate>& candidates) {
  for (std::size_t index = workloads.size(); index-- > 0;) {
    const workload& each = workloads[index];
    if (std::any_of(candidates.begin(), candidates.end(),
                    [&](const candidate& what) { return takes_part(each, what); }))
      continue;
    report(compare_name,
           fmt::format("{}: left out, it is for none of these allocators", each.name));
    workloads.erase(workloads.begin() + static_cast<std::ptrdiff_t>(index));
    prepared.erase(prepared.begin() + static_cast<std::ptrdiff_t>(index));
  }
  if (workloads.empty())
    throw command_error(status_usage, "nothing is left to run; see --allocators");
}

comparison prepare_comparison(const compare_options& options,
                              const std::vector<candidate>& candidates) {
  comparison all;
  all.title = options.plan.title;
  all.command = options.command;
  all.machine = machine_facts();
  for (const workload& each : options.plan.workloads) {
    compared_workload next{each, {}};
    for (const candidate& what : candidates)
      if (takes_part(each, what))
        next.candidates.push_back({what, {}});
    all.workloads.push_back(std::move(next));
  }
  return all;
}

// Measures everything, shows each workload when it is done, and leaves out what was not begun.
void measure_all(comparison& all, const compare_options& options,
                 const std::vector<prepared_workload>& prepared) {
  const schedule rounds{options.plan.warmup, options.plan.runs};
  std::size_t candidates = 0;
  for (const compared_workload& each : all.workloads)
    candidates += each.candidates.size();
  progress shown((rounds.warmup + rounds.runs) * candidates);
  for (std::size_t index = 0; index < all.workloads.size(); ++index) {
    compared_workload& each = all.workloads[index];
    const std::string prefix = options.from_file ? each.what.name + ": " : "";
    measure(
        each, prepared[index], rounds, [&](const std::string& step) { shown.next(prefix + step); },
        [&](const std::string& remark) {
          shown.clear();
          report(compare_name, prefix + remark);
        },
        interrupted);
    shown.clear();
    if (options.from_file)
      fmt::print("{}\n", each.what.name);
    fmt::print("{}{}\n\n", table_of(each, ::isatty(1) != 0), verdict_of(each));
    std::fflush(stdout);
    if (interrupted.load(std::memory_order_relaxed)) {
      all.workloads.resize(index + 1);
      return;
    }
  }
}

void write_files(const comparison& all, const compare_options& options) {
  if (!options.report.empty())
    write_file(options.report, report_of(json_of(all, memory_samples::of_median_runs)));
  if (!options.json.empty())
    write_file(options.json, json_of(all));
  if (!options.csv.empty())
    write_file(options.csv, csv_of(all));
}

bool fails(const comparison& all, const condition& fail_if, const compare_options& options) {
  bool any = false;
  for (const compared_workload& each : all.workloads)
    if (fail_if.concerns(each) && fail_if.holds(each)) {
      report(compare_name,
             fmt::format("--fail-if holds{}: {}", options.from_file ? " for " + each.what.name : "",
                         options.plan.fail_if));
      any = true;
    }
  return any;
}

int compare(compare_options& options) {
  std::vector<prepared_workload> prepared;
  for (workload& each : options.plan.workloads)
    prepared.push_back(prepare_naming(each, options.from_file));
  const std::vector<candidate> candidates = find_candidates(options);
  leave_out_workloads(options.plan.workloads, prepared, candidates);
  std::optional<condition> fail_if;
  if (!options.plan.fail_if.empty()) {
    std::vector<std::string> names;
    for (const candidate& each : candidates)
      names.push_back(each.name);
    const bool any_metric =
        std::any_of(options.plan.workloads.begin(), options.plan.workloads.end(),
                    [](const workload& each) { return !each.metric.empty(); });
    fail_if.emplace(options.plan.fail_if, names, any_metric);
  }
  if (!options.report.empty())
    check_report();
  check_writable(options.report);
  check_writable(options.json);
  check_writable(options.csv);

  struct sigaction on_interrupt {};
  on_interrupt.sa_handler = note_interrupt;
  ::sigaction(SIGINT, &on_interrupt, nullptr);
  ::sigaction(SIGTERM, &on_interrupt, nullptr);
  comparison all = prepare_comparison(options, candidates);
  print_machine(all, candidates);
  std::fflush(stdout);
  measure_all(all, options, prepared);
  if (all.workloads.size() > 1)
    fmt::print("{}{}\n", means_of(all).empty() ? "" : table_of_means(all), verdict_of(all));
  write_files(all, options);
  if (interrupted.load(std::memory_order_relaxed)) {
    report(compare_name, "interrupted; what was measured so far is above");
    return 128 + SIGINT;
  }
  if (fail_if && fails(all, *fail_if, options))
    return status_worse;
  const bool any_failure =
      std::any_of(all.workloads.begin(), all.workloads.end(),
                  [](const compared_workload& each) { return count_failures(each) != 0; });
  return any_failure ? status_worse : 0;
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
