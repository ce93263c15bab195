// `mete run`. See run.hpp and docs/mete-run.md.
//
// SPDX-License-Identifier: MIT
#include "cli/run.hpp"

#include "cli/command.hpp"
#include "cli/environment.hpp"
#include "cli/library.hpp"
#include "cli/preload_check.hpp"
#include "cli/process.hpp"
#include "cli/program.hpp"
#include "cli/verify.hpp"

#include <CLI/App.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace mete::cli {
namespace {

constexpr const char* run_name = "run";

struct run_options {
  std::string library;
  std::vector<std::string> options;
  bool force = false;
  bool verify = false;
  bool print_environment = false;
  bool verbose = false;
  std::vector<std::string> program;
};

std::string value_in_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::unique_ptr<CLI::App> make_run_parser(run_options& options) {
  auto parser = make_parser("Runs a program with mete as its malloc.",
                            "mete run [options] [--] program [args...]");
  parser->add_option("-l,--library", options.library, "Use this libmete.so")->type_name("PATH");
  parser->add_option("-O,--option", options.options, "Add to METE_OPTIONS (repeatable)")
      ->type_name("KEY=VALUE")
      ->take_all()
      ->expected(1)
      ->check(
          [](const std::string& text) {
            return is_option_list(text) ? ""
                                        : fmt::format("'{}' is not of the form key=value", text);
          },
          "");
  parser->add_flag("--verify", options.verify, "Prove first that the program gets mete's malloc");
  parser->add_flag("--force", options.force, "Run it even where mete cannot work");
  parser->add_flag("--print-env", options.print_environment,
                   "Print the environment to set, run nothing");
  parser->add_flag("-v,--verbose", options.verbose, "Say what is done, and what is worth knowing");
  parser->footer("Exit status: the program's own; 125 when mete failed, 126 when the program is\n"
                 "not executable, 127 when it was not found.\n\n"
                 "Example: mete run -O verbose=1 -- redis-server --port 7000");
  return parser;
}

// Throws command_error, or CLI::ParseError (which is what --help ends in, too).
void parse(CLI::App& parser, run_options& options, const std::vector<std::string>& arguments) {
  split_arguments split = split_at_program(parser, arguments);
  parser.parse(std::vector<std::string>(split.own.rbegin(), split.own.rend())); // last one first
  options.program = std::move(split.program);
  if (options.program.empty() && !options.print_environment)
    throw command_error(status_failed, "no program named; try: mete run -- program args...");
}

void set_environment(const run_options& options, const preload_library& library) {
  const std::string preload = merge_preload(library.path, value_in_environment("LD_PRELOAD"));
  std::string merged = merge_options(value_in_environment("METE_OPTIONS"), options.options);
  // The library then says in its own words, from inside the process, that it is there.
  if (options.verify && !names_option(merged, "verbose"))
    merged = merge_options(merged, {"verbose=1"});
  ::setenv("LD_PRELOAD", preload.c_str(), 1);
  if (!merged.empty())
    ::setenv("METE_OPTIONS", merged.c_str(), 1);
}

void print_environment() {
  for (const char* name : {"LD_PRELOAD", "METE_OPTIONS"})
    if (const char* value = std::getenv(name))
      fmt::print("{}={}\n", name, value);
}

// Throws the obstacle, unless the user wants to run it all the same.
void check_program(const run_options& options, const program_file& program,
                   const preload_library& library) {
  preload_check check = check_preload(program.image, library.identity);
  if (program.environment_dropped && !check.hindrance)
    check.hindrance =
        obstacle{status_failed, fmt::format("'env' drops LD_PRELOAD on the way to '{}'; "
                                            "put mete run behind it: env ... mete run -- ...",
                                            program.image)};
  if (check.hindrance && !options.force)
    throw command_error(check.hindrance->status,
                        check.hindrance->message + " (--force runs it anyway)");
  if (!options.verbose)
    return;
  if (check.hindrance)
    report(run_name, check.hindrance->message + " (run anyway: --force)");
  for (const std::string& note : check.notes)
    report(run_name, note);
}

void verify(const run_options& options, const program_file& program,
            const preload_library& library) {
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each)
    variables.emplace_back(*each);
  try {
    const auto remarks = verify_preload(program.image, library.path, variables);
    report(run_name, fmt::format("verified: '{}' gets malloc and free from '{}'", program.image,
                                 library.path));
    for (const std::string& remark : remarks)
      report(run_name, remark);
  } catch (const command_error& error) {
    if (!options.force)
      throw;
    report(run_name, fmt::format("{} (run anyway: --force)", error.what()));
  }
}

[[noreturn]] void become(const program_file& program, std::vector<std::string> arguments) {
  const std::vector<char*> pointers = pointers_to(arguments);
  // Of the two, execvp() hands what the kernel cannot execute to the shell, be it text or not. The
  // path has a slash, so it looks nothing up.
  if (program.for_shell)
    ::execvp(program.path.c_str(), pointers.data());
  else
    ::execv(program.path.c_str(), pointers.data());
  const int error = errno;
  throw command_error(error == ENOENT ? status_not_found : status_not_executable,
                      fmt::format("cannot execute '{}': {}", program.path, std::strerror(error)));
}

int run(const run_options& options) {
  const preload_library library = find_library(options.library);
  program_file program;
  if (!options.program.empty()) {
    program = find_program(options.program);
    check_program(options, program, library);
  }
  set_environment(options, library);
  if (options.verify && !options.program.empty())
    verify(options, program, library);
  if (options.print_environment) {
    print_environment();
    return 0;
  }
  if (options.verbose)
    report(run_name,
           fmt::format("LD_PRELOAD={} METE_OPTIONS={} {}", value_in_environment("LD_PRELOAD"),
                       value_in_environment("METE_OPTIONS"), program.path));
  become(program, options.program);
}

} // namespace

int run_command(const std::vector<std::string>& arguments) {
  run_options options;
  const auto parser = make_run_parser(options);
  return call_reporting(run_name, *parser, status_failed, [&] {
    parse(*parser, options, arguments);
    return run(options);
  });
}

} // namespace mete::cli
