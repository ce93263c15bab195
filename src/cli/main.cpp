// The `mete` command: looks the subcommand up and calls it. Each one is a pair of files here.
//
// SPDX-License-Identifier: MIT
#include "cli/command.hpp"
#include "cli/compare.hpp"
#include "cli/doctor.hpp"
#include "cli/run.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fmt/format.h>
#include <mete/mete.h>
#include <string>
#include <vector>

namespace {

struct subcommand {
  const char* name;
  const char* summary;
  int (*call)(const std::vector<std::string>& arguments);
};

constexpr std::array<subcommand, 3> subcommands{{
    {"compare", "Compare a program on several allocators", mete::cli::compare_command},
    {"doctor", "Check which allocator a program or process really uses", mete::cli::doctor_command},
    {"run", "Run a program with mete as its malloc", mete::cli::run_command},
}};

void print_help() {
  fmt::print("mete: a drop-in malloc, and the instruments around it\n\n"
             "Usage: mete <command> [args...]\n\n"
             "Commands:\n");
  for (const subcommand& each : subcommands)
    fmt::print("  {:<24}{}\n", each.name, each.summary);
  fmt::print("\nOptions:\n"
             "  {:<24}Print help; of a command: mete <command> --help\n"
             "  {:<24}Print the version\n\n"
             "Example: mete run -- python3 job.py\n",
             "-h, --help", "--version");
}

int dispatch(const std::string& name, const std::vector<std::string>& arguments) {
  if (name == "-h" || name == "--help") {
    print_help();
    return 0;
  }
  if (name == "--version") {
    fmt::print("mete {}\n", METE_VERSION);
    return 0;
  }
  for (const subcommand& each : subcommands)
    if (name == each.name)
      return each.call(arguments);
  fmt::print(stderr, "mete: no command '{}'; see: mete --help\n", name);
  return mete::cli::status_usage;
}

// A status, unless what was printed did not arrive (a full disk, say).
int flushed(int status) {
  if (std::fflush(stdout) == 0)
    return status;
  fmt::print(stderr, "mete: cannot write to standard output: {}\n", std::strerror(errno));
  return mete::cli::status_failed;
}

} // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    fmt::print(stderr, "mete: no command named; see: mete --help\n");
    return mete::cli::status_usage;
  }
  return flushed(dispatch(argv[1], {argv + 2, argv + argc}));
} catch (const std::exception& error) { // such as no memory, so nothing that might need some
  std::fprintf(stderr, "mete: %s\n", error.what());
  return mete::cli::status_failed;
}
