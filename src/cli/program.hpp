// From what the user typed to the file that the kernel will load in the end.
//
// A program name is looked up in PATH by the rules of execvp(3). What is found may be a script, the
// interpreter of which may be a script again, or env(1), which looks up another program. Whether a
// preloaded library takes effect is decided by the ELF file at the end of that chain, the image.
//
// Nothing here runs anything: between this look and the exec the files may change, and then the
// exec says so.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

struct program_file {
  std::string path;       // what is executed; contains a slash
  std::string image;      // the ELF file that gets loaded: `path`, or what runs the script
  bool for_shell = false; // text without "#!", which only a shell can execute
  bool environment_dropped = false; // an env(1) on the way drops LD_PRELOAD
};

// REQUIRES: `arguments` is not empty. Throws command_error with status_not_found or
// status_not_executable.
program_file find_program(const std::vector<std::string>& arguments);

// The parts of a script's first line, as the kernel sees them: at most one argument.
struct script_line {
  std::string interpreter;
  std::string argument;
};

// REQUIRES: `start` begins with "#!".
script_line parse_script_line(const std::string& start);

// What env(1), called with `arguments` (without its own name), would run; empty when that cannot
// be told without being env.
struct env_call {
  std::vector<std::string> program;
  bool drops_preload = false;
};
env_call parse_env_call(std::vector<std::string> arguments);

} // namespace mete::cli
