// What /proc says of a process.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace mete::cli {

// A file from which a process executes code.
struct mapped_object {
  std::string path;        // as the process sees it
  std::string range;       // of its first executable mapping, as a name in /proc/PID/map_files
  std::uint64_t start = 0; // its lowest address
  bool deleted = false;    // or replaced, since it was mapped
};

struct process_facts {
  std::string folder;                 // /proc/PID
  std::string executable;             // as the process sees it
  std::vector<mapped_object> objects; // by address
  std::size_t mappings = 0;
  std::vector<std::string> environment; // "NAME=value", as it was at the start
  bool environment_overwritten = false; // in part at least: some programs put their title there
  bool secure = false;                  // it gained rights when it was started
  bool apart = false;                   // it sees other files than this process
  std::string status;                   // texts of the files of these names
  std::string limits;
  std::string cgroup;
  std::string smaps_rollup;
};

// Of the process itself, as /proc/self.
process_facts read_own_process();

// Throws command_error where there is no such process, or it may not be looked at.
process_facts read_process(pid_t process);

// Where the file of an object can be read: as it was mapped, even if it has been replaced, or, when
// that is not allowed, under its name.
std::string readable_path(const process_facts& process, const mapped_object& object);

// The parts of the above that only look at texts.
std::vector<mapped_object> objects_in_maps(std::string_view maps);
std::vector<std::string> parse_environment(std::string_view text);
bool is_overwritten(const std::vector<std::string>& environment);
bool is_secure(std::string_view auxiliary_vector, int bits);

// The value of a variable; nothing if it is not set.
std::optional<std::string> variable_in(const std::vector<std::string>& environment,
                                       std::string_view name);

} // namespace mete::cli
