// Facts about the machine that decide what a measurement is worth.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace mete::cli {

// The processors that the kernel may run a process on; 0: this one.
std::size_t usable_processors(pid_t process);

// Name and value, in the order in which they are shown. What cannot be read is left out.
std::vector<std::pair<std::string, std::string>> machine_facts();

} // namespace mete::cli
