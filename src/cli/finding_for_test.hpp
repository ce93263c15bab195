// Looking for findings by the name of their check.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/finding.hpp"

#include <string>

namespace mete::cli {

// "problem: message | remedy" of each finding of that name, one per line; all names if it is empty.
inline std::string said(const findings& found, const std::string& name = "") {
  std::string lines;
  for (const finding& each : found)
    if (name.empty() || each.name == name)
      lines += std::string(each.how == level::ok     ? "ok"
                           : each.how == level::note ? "note"
                                                     : "problem") +
               ": " + each.message + (each.remedy.empty() ? "" : " | ") + each.remedy + "\n";
  return lines;
}

inline bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace mete::cli
