// Findings. See finding.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/finding.hpp"

#include <algorithm>

namespace mete::cli {

finding make_finding(const char* name, level how, const std::string& message) {
  const std::size_t middle = std::min(message.find("; "), message.size());
  return {name, how, message.substr(0, middle),
          message.substr(std::min(middle + 2, message.size()))};
}

} // namespace mete::cli
