// All checks of `mete doctor`, in the order in which they are shown.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/finding.hpp"
#include "cli/subject.hpp"

#include <string>

namespace mete::cli {

// `library`: the libmete.so that mete run would use, or empty.
findings check_all(const subject& whose, const std::string& library);

} // namespace mete::cli
