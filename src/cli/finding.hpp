// What a check of `mete doctor` has to say: one line.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

enum class level {
  ok,
  note,   // worth knowing; what was asked for happens all the same
  problem // what was asked for does not happen, or will not last
};

struct finding {
  std::string name; // of the check, for programs that read it
  level how = level::ok;
  std::string message;
  std::string remedy{}; // empty: none is needed, or known
};
using findings = std::vector<finding>;

// Of a message that says what is wrong, then, after a semicolon, the remedy.
finding make_finding(const char* name, level how, const std::string& message);

} // namespace mete::cli
