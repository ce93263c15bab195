// Candidates: the allocators that can be compared, where they are, and which one a process really
// runs on.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mete::cli {

struct candidate {
  std::string name;
  std::string library;     // what is preloaded; empty: the C library's own malloc
  std::string version;     // of the package or the C library; empty if it is not known
  bool as_shipped = false; // whatever the program itself brings
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

// The version of the installed package that a library belongs to; empty if it is not known.
std::string package_version(const std::string& library);

// The allocator libraries among the mappings of a process (the text of /proc/PID/maps), by path,
// without repetitions, in the order of their addresses.
std::vector<std::string> allocators_in_maps(std::string_view maps);

} // namespace mete::cli
