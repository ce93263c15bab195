// Small pieces for starting programs and reading what they say.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

// What exec and spawn take: a pointer to each text, then null. They stay valid as long as `texts`.
std::vector<char*> pointers_to(std::vector<std::string>& texts);

// Everything from a descriptor up to its end or an error.
std::string read_all(int descriptor);

} // namespace mete::cli
