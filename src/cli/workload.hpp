// What is run on every allocator: a program, and what belongs to running it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/candidate.hpp"
#include "cli/child_process.hpp"

#include <chrono>
#include <optional>
#include <regex>
#include <string>
#include <utility>
#include <vector>

namespace mete::cli {

struct workload {
  std::string name;
  std::vector<std::string> program;
  std::vector<std::pair<std::string, std::string>> environment;
  std::string directory; // where it runs; empty: here
  bool scratch = false;  // instead, in an empty folder that is removed after each run
  std::string input;     // a file to read; empty: nothing
  std::chrono::milliseconds timeout{0}; // 0: none

  // For the shell. Empty: none.
  std::string setup;  // before each run
  std::string client; // the program is a server, and this is what talks to it
  std::string check;  // after each run, with the output to read; must say the same each time

  // When the server is ready: when it prints this, or else listens on that port; 0: on any socket.
  std::string ready_line;
  int ready_port = 0;

  std::string metric; // a regular expression with one group, or two; empty: none
  bool lower_metric_is_better = false;

  std::vector<std::string> allocators; // of the suite's, those that it is run on; empty: all
  std::vector<std::string> means{"time", "memory"}; // the means of a suite that it enters
};

// Its patterns compiled, its program and input found. Throws command_error where there are none.
struct prepared_workload {
  std::optional<std::regex> metric;
  std::optional<std::regex> ready_line;
};
prepared_workload prepare(workload& what);

// What is started for one run. `directory`: the scratch folder, if it has one.
child_request request_for(const workload& what, const candidate& allocator,
                          const std::string& directory);

// A line for the shell that does the same run.
std::string command_line_of(const workload& what, const candidate& allocator);

} // namespace mete::cli
