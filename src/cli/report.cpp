// SPDX-License-Identifier: MIT
#include "cli/report.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

#ifdef METE_HAS_REPORT
// The assembler takes the page in as it is: no compiler has to read 300 KiB of numbers.
extern "C" const char mete_report_page[];
asm(".pushsection .rodata\n"
    ".hidden mete_report_page\n"
    ".globl mete_report_page\n"
    "mete_report_page:\n"
    ".incbin \"page.html\"\n"
    ".byte 0\n"
    ".popsection\n");
#endif

namespace mete::cli {
namespace {

// Where the data goes; build.mjs makes sure that it is there once.
[[maybe_unused]] constexpr std::string_view placeholder = "@METE_REPORT_DATA@";

std::string_view page() {
#ifdef METE_HAS_REPORT
  return mete_report_page;
#else
  return {};
#endif
}

struct escape {
  std::string_view character;
  std::string_view text;
};

// The last two end a line for readers of JavaScript.
constexpr escape escapes[] = {{"<", "\\u003c"}, {"\u2028", "\\u2028"}, {"\u2029", "\\u2029"}};

// JSON that cannot end the script element: these characters stand in its texts only, where the
// escapes mean the same.
std::string escaped(std::string_view json) {
  std::string text;
  text.reserve(json.size() + json.size() / 16);
  while (!json.empty()) {
    const auto* const match =
        std::find_if(std::begin(escapes), std::end(escapes),
                     [&](const escape& each) { return json.starts_with(each.character); });
    const bool found = match != std::end(escapes);
    text += found ? match->text : json.substr(0, 1);
    json.remove_prefix(found ? match->character.size() : 1);
  }
  return text;
}

} // namespace

void check_report() {
  if (page().empty())
    throw command_error(status_usage, "this build has no report; build it with npm installed and "
                                      "-DMETE_BUILD_REPORT=ON, or use --json");
}

std::string report_of(const std::string& json) {
  check_report();
  const std::size_t at = page().find(placeholder);
  std::string text(page().substr(0, at));
  text += escaped(json);
  text += page().substr(at + placeholder.size());
  return text;
}

} // namespace mete::cli
