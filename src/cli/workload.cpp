// SPDX-License-Identifier: MIT
#include "cli/workload.hpp"

#include "cli/command.hpp"
#include "cli/program.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

std::optional<std::regex> compile(const char* option, const std::string& pattern) {
  if (pattern.empty())
    return std::nullopt;
  try {
    return std::regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  } catch (const std::regex_error& error) {
    throw command_error(status_usage, fmt::format("{} '{}' is no regular expression: {}", option,
                                                  pattern, error.what()));
  }
}

std::optional<std::regex> compile_metric(const std::string& pattern) {
  std::optional<std::regex> compiled = compile("--metric", pattern);
  if (compiled && compiled->mark_count() != 1 && compiled->mark_count() != 2)
    throw command_error(status_usage,
                        fmt::format("--metric '{}' has {} groups, not one (the number) or two (its "
                                    "name, the number); write for instance 'rate: ([0-9.]+)'",
                                    pattern, compiled->mark_count()));
  return compiled;
}

std::vector<std::string> program_for(const workload& what, const candidate& allocator) {
  std::vector<std::string> program = what.program;
  program.insert(program.end(), allocator.arguments.begin(), allocator.arguments.end());
  return program;
}

} // namespace

prepared_workload prepare(workload& what) {
  find_program(what.program); // says clearly if there is none
  if (what.client.empty() && (!what.ready_line.empty() || what.ready_port != 0))
    throw command_error(status_usage, "--ready-line and --ready-port say when a --client starts; "
                                      "name one, or leave them out");
  if (!what.input.empty() && ::access(what.input.c_str(), R_OK) != 0)
    throw command_error(status_usage, fmt::format("cannot read --input '{}': {}", what.input,
                                                  std::strerror(errno)));
  if (!what.directory.empty() && !fs::is_directory(what.directory))
    throw command_error(
        status_usage, fmt::format("'directory' names '{}', which is no directory", what.directory));
  // Names that start from here are found from elsewhere too.
  if (what.scratch || !what.directory.empty()) {
    if (what.program[0].find('/') != std::string::npos)
      what.program[0] = fs::absolute(what.program[0]).string();
    if (!what.input.empty())
      what.input = fs::absolute(what.input).string();
  }
  return {compile_metric(what.metric), compile("--ready-line", what.ready_line)};
}

child_request request_for(const workload& what, const candidate& allocator,
                          const std::string& directory) {
  return {program_for(what, allocator), allocator.library, what.environment,
          directory.empty() ? what.directory : directory, what.input};
}

std::string command_line_of(const workload& what, const candidate& allocator) {
  std::string line;
  if (!what.directory.empty())
    line += fmt::format("cd {} && ", quoted_for_shell({what.directory}));
  if (!what.setup.empty())
    line += fmt::format("{{ {}; }} && ", what.setup);
  line += allocator.library.empty()
              ? "env -u LD_PRELOAD"
              : fmt::format("env LD_PRELOAD={}", quoted_for_shell({allocator.library}));
  for (const auto& [name, value] : what.environment)
    line += fmt::format(" {}", quoted_for_shell({fmt::format("{}={}", name, value)}));
  line += " " + quoted_for_shell(program_for(what, allocator));
  if (!what.input.empty())
    line += fmt::format(" < {}", quoted_for_shell({what.input}));
  return line;
}

} // namespace mete::cli
