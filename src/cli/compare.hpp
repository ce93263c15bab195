// `mete compare`: runs a program on several allocators in turn and says what differs.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

// Returns the exit status: 0; 1 if --fail-if holds, or a run failed; see command.hpp for others.
int compare_command(const std::vector<std::string>& arguments);

} // namespace mete::cli
