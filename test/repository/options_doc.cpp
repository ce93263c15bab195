// options_doc [file]: prints docs/options.md from the table of options, or writes it to the file.
//
//   cmake --build <build folder> --target update_options_doc
//
// Built without METE_FAULT_INJECTION, whatever the rest is built with: what is documented is what
// users get.
//
// SPDX-License-Identifier: MIT
#include "base/options.hpp"

#include <cctype>
#include <fstream>
#include <iostream>
#include <string>

namespace {

constexpr const char* introduction =
    R"(<!-- Written by the build target update_options_doc from src/base/options_table.inc: don't edit. -->

# Options

mete needs no settings. Those that it has are read from the environment variable `METE_OPTIONS` when
a process starts:

```sh
METE_OPTIONS="decay_ms=1000,dirty_limit=16m,verbose" LD_PRELOAD=libmete.so program
```

- Assignments are separated by commas or spaces. Of two for one option, the later one holds.
- Values are decimal numbers. They may end in `k`, `m` or `g`: times 1024, 1024², 1024³.
- A name alone means 1: `verbose` is `verbose=1`.
- An unknown name, or a value out of bounds, is reported on standard error, one line each, and
  ignored; the program runs on.
- A program that runs with more rights than its user (setuid) does not look at the variable.

Options that may be set at any time can also be changed by the program itself, and all can be read:
`mete_option_set("decay_ms", 1000)` and `mete_option_get("decay_ms", &value)`, from `<mete/mete.h>`.
)";

// As METE_OPTIONS takes it: 64m rather than 67108864.
std::string number(long long value) {
  const char* const suffixes[] = {"", "k", "m", "g"};
  unsigned suffix = 0;
  while (value != 0 && value % 1024 == 0 && suffix + 1 < std::size(suffixes)) {
    value /= 1024;
    ++suffix;
  }
  return std::to_string(value) + suffixes[suffix];
}

const char* when_text(mete::when_set when) {
  return when == mete::when_set::any_time ? "at any time" : "at start";
}

// The table's help follows a colon elsewhere; here it is a sentence.
std::string sentence(std::string text) {
  text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return text + ".";
}

void write_document(std::ostream& out) {
  out << introduction;
  for (const mete::option_description& each : mete::option_table) {
    out << "\n## `" << each.name << "`\n\n"
        << sentence(each.help) << "\n\n"
        << "| default | lowest | highest | unit | may be set |\n"
        << "|---|---|---|---|---|\n"
        << "| " << number(each.fallback) << " | " << number(each.minimum) << " | "
        << number(each.maximum) << " | " << each.unit << " | " << when_text(each.when) << " |\n";
  }
}

} // namespace

int main(int count, char** arguments) {
  if (count == 1) {
    write_document(std::cout);
    return std::cout.flush() ? 0 : 1;
  }
  std::ofstream file(arguments[1]);
  write_document(file);
  file.close();
  if (!file) {
    std::cerr << "options_doc: cannot write " << arguments[1] << "; is the folder there?\n";
    return 1;
  }
  return 0;
}
