// Candidates: the allocators that can be compared, and where they are.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mete::cli {

struct candidate {
  std::string name;
  std::string library;                  // what is preloaded; empty: the C library's own malloc
  std::string version;                  // of the package or the C library; empty if it is not known
  bool as_shipped = false;              // whatever the program itself brings
  std::vector<std::string> arguments{}; // added to the program's: of a candidate of a suite
};

// The candidate of that name: glibc, mete, one of the known allocators, as-shipped, or the path of
// a shared library, which is then named after its file. `mete_library`: where libmete.so is, or
// empty. Throws command_error with the remedy where there is none.
candidate find_candidate(const std::string& name, const std::string& mete_library);

// What is compared when nothing is named: glibc, mete, and the known ones that are installed.
struct usual_candidates {
  std::vector<candidate> found;
  std::vector<std::string> missing; // one line each: how to install it
};
usual_candidates find_usual_candidates(const std::string& mete_library);

// The C library that this command runs on.
std::string c_library_path();

// The name of the known allocator that a file with this path is a library of; empty if of none.
std::string known_allocator_of(std::string_view path);

// The version of an installed package of Debian's; empty if there is none.
std::string installed_version(const std::string& package);

// The version of the installed package that a library belongs to; empty if it is not known.
std::string package_version(const std::string& library);

} // namespace mete::cli
