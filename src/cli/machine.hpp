// Facts about the machine that decide what a measurement is worth.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mete::cli {

// Name and value, in the order in which they are shown. What cannot be read is left out.
std::vector<std::pair<std::string, std::string>> machine_facts();

} // namespace mete::cli
