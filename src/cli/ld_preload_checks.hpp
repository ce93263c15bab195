// Checks of `mete doctor`: whether what LD_PRELOAD names takes effect, and if not, why.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/finding.hpp"
#include "cli/subject.hpp"

namespace mete::cli {

findings check_ld_preload(const subject& whose);

} // namespace mete::cli
