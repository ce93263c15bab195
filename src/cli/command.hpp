// What the subcommands of `mete` share: how they are called, fail and split their arguments.
//
// A subcommand is one pair of files with one function; main.cpp names it in its table. It reports
// its own errors by throwing `command_error`, which ends in one line on standard error.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mete::cli {

// Exit statuses. Subcommands that run a program use those of env(1), nohup(1) and timeout(1), so
// that a status below 125 is always the program's own.
inline constexpr int status_usage = 2;            // `mete` itself was called wrongly
inline constexpr int status_failed = 125;         // mete's own failure: the program was not run
inline constexpr int status_not_executable = 126; // the program is there but cannot be executed
inline constexpr int status_not_found = 127;      // the program is not there

class command_error : public std::runtime_error {
public:
  command_error(int status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  int status() const { return status_; }

private:
  int status_;
};

// "mete <command>: <message>", one line on standard error.
void report(const std::string& command, const std::string& message);

// A parser whose help reads like every other one's. `usage` is the line after "Usage: ".
std::unique_ptr<CLI::App> make_parser(const std::string& description, const std::string& usage);

// Calls `work`, and reports in one line what it throws: wrong arguments, with `wrong_use` as the
// exit status, or a command_error. --help is printed.
int call_reporting(const std::string& command, const CLI::App& parser, int wrong_use,
                   const std::function<int()>& work);

// Arguments before and from the program on. "--" ends the options and is dropped; without it the
// first argument that is neither an option of `parser` nor the value of one starts the program.
struct split_arguments {
  std::vector<std::string> own;
  std::vector<std::string> program;
  bool marked = false; // by "--"
};
split_arguments split_at_program(const CLI::App& parser, const std::vector<std::string>& arguments);

} // namespace mete::cli
