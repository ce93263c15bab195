// `mete doctor`: is the allocator that is thought to be used really in use, and what is in its way?
//
// It only looks: at a process from outside, through /proc, or at a program before it is started.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

// Returns the exit status: 0; 1 if there is a problem; see command.hpp for others.
int doctor_command(const std::vector<std::string>& arguments);

} // namespace mete::cli
