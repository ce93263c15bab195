// Checks of `mete doctor`: the environment variables that set an allocator up.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/finding.hpp"

#include <string>
#include <vector>

namespace mete::cli {

// Where variables have their effect, or have none.
struct variable_reader {
  std::string active;              // the allocator, as allocator_name(); empty: not known
  std::vector<std::string> inside; // other allocators that the program has inside
  bool secure = false;             // the program gains rights when it is started
  bool python = false;             // the program is CPython
};

// METE_OPTIONS, as the library would read it.
findings check_mete_options(const std::vector<std::string>& environment,
                            const variable_reader& reader);

// Variables of other allocators than the active one, and of CPython.
findings check_variables(const std::vector<std::string>& environment,
                         const variable_reader& reader);

} // namespace mete::cli
