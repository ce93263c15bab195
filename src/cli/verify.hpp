// The proof that a program gets its memory from mete.
//
// The dynamic loader itself is asked: in its trace mode (what `ldd -r` uses) it loads the program
// with everything it links, binds all symbols and ends, without running any of the program's code.
// With LD_DEBUG=bindings it prints who uses whose malloc and free on the way. That is a statement
// of the same loader, the same files and the same environment that the program then starts with.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mete::cli {

// What the loader of `image` prints when it is asked so. It must be a loader that knows how to be
// asked, or else the program runs. REQUIRES: `image` is dynamically linked for this machine's
// glibc.
std::string trace_loading(const std::string& image, std::vector<std::string> environment);

// The files that it loads besides the program itself, in the order in which symbols are looked up,
// and the names of those that it does not find.
struct loaded_files {
  std::vector<std::string> paths;
  std::vector<std::string> missing;
};
loaded_files parse_loaded_files(std::string_view trace);

// One line of the loader's: `user` calls `symbol` in `provider`.
struct symbol_binding {
  std::string user;
  std::string provider;
  std::string symbol;
};

std::vector<symbol_binding> parse_bindings(std::string_view trace);

// Throws command_error unless malloc and all of its family that is bound at the start of `image`
// are those of `library`. What is true besides, and worth knowing: whose operator new and delete it
// uses if they are not those of `library`. REQUIRES: `environment` holds LD_PRELOAD with `library`.
std::vector<std::string> verify_preload(const std::string& image, const std::string& library,
                                        const std::vector<std::string>& environment);

} // namespace mete::cli
