// JSON in, report out: what report_test.mjs opens in a browser.
//
// SPDX-License-Identifier: MIT
#include "cli/process.hpp"
#include "cli/report.hpp"

#include <cstdio>
#include <exception>
#include <string>
#include <unistd.h>

int main() {
  try {
    const std::string page = mete::cli::report_of(mete::cli::read_all(STDIN_FILENO));
    return std::fwrite(page.data(), 1, page.size(), stdout) == page.size() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
