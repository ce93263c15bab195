// A suite: many named workloads in one file, compared in one go and shown in one report.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/workload.hpp"

#include <string>
#include <vector>

namespace mete::cli {

// A candidate that programs choose by an argument, such as a library that they are linked to.
struct suite_candidate {
  std::string name;
  std::vector<std::string> arguments;
  std::string allocator = "glibc"; // what the program runs on
  std::string package;             // Debian's, for the version; may be empty
};

struct suite {
  std::string title;
  std::vector<std::string> allocators; // empty: its candidates, or else the usual ones
  std::vector<suite_candidate> candidates;
  unsigned runs = 5;
  unsigned warmup = 1;
  std::string fail_if;
  std::vector<workload> workloads;
};

// Reads a TOML file; docs/mete-compare.md lists its keys. Paths in it start from its folder, where
// its commands run. Throws command_error, "file:line:column: what is wrong".
suite read_suite(const std::string& path);

// The same of a text; `path` is for the messages.
suite parse_suite(const std::string& text, const std::string& path);

} // namespace mete::cli
