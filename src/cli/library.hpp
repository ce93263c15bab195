// Finding libmete.so, the library that `mete` preloads.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/elf_file.hpp"

#include <string>

namespace mete::cli {

struct preload_library {
  std::string path; // absolute
  elf_identity identity;
};

// The library at `named`, or, when that is empty, the first of: lib, lib/<multiarch> and lib64 of
// the installation or build tree that this command runs from, and the folder it was configured to
// be installed in. Throws command_error with what was tried.
preload_library find_library(const std::string& named);

} // namespace mete::cli
