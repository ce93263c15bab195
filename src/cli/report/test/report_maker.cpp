// JSON in, report out: what report_test.mjs opens in a browser.
//
// SPDX-License-Identifier: MIT
#include "cli/process.hpp"
#include "cli/report.hpp"

#include <fmt/format.h>
#include <unistd.h>

int main() {
  fmt::print("{}", mete::cli::report_of(mete::cli::read_all(STDIN_FILENO)));
}
