// What `mete doctor` looks at: a process, a program that is not started, or this environment.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/object_facts.hpp"
#include "cli/process_facts.hpp"

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace mete::cli {

enum class subject_kind { environment, program, process };

struct subject {
  subject_kind kind = subject_kind::environment;
  pid_t pid = 0;                     // of a process
  std::string title;                 // the first line of what is printed
  std::string executable;            // the file that gets loaded, as the process sees it
  std::string readable;              // the same, as it is read from here
  process_facts process;             // or this command's, from which a program would inherit
  std::vector<std::string> preloads; // the entries of LD_PRELOAD
  std::vector<object_facts> objects; // the program, then libraries, in search order
  std::string libraries_unknown;     // why only the program is there; empty: all are
  std::vector<std::string> missing;  // libraries that the loader does not find
  std::string rights;                // how the program gains rights, "is setuid"; empty: not
  bool preload_dropped = false;      // on the way to the program, by env(1)

  bool is_process() const { return kind == subject_kind::process; }
};

// All throw command_error where there is nothing to look at.
// `preload`: the LD_PRELOAD that a process was started with, where that is known; else what the
// process itself says.
subject look_at_process(pid_t process, const std::optional<std::string>& preload = std::nullopt);
subject look_at_program(const std::vector<std::string>& arguments);
subject look_at_environment(); // by what the loader would do for this command

// Whether an entry of LD_PRELOAD is the library at `path`, both as the subject sees them.
bool is_preloaded_as(const subject& whose, const std::string& entry, const object_facts& object);

// Where the library that an entry of LD_PRELOAD names by its path can be read from here.
std::string readable_entry(const subject& whose, const std::string& entry);

} // namespace mete::cli
