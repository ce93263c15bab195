// Whether a preloaded allocator takes effect in a program, told from its file alone.
//
// The loader ignores LD_PRELOAD in silence, or with a message that few understand, in every case
// that is found here. It is better to say it before the program runs on something else.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/elf_file.hpp"

#include <optional>
#include <string>
#include <vector>

namespace mete::cli {

struct obstacle {
  int status = 0;      // the exit status that says it
  std::string message; // what and why, then the remedy
};

struct preload_check {
  std::optional<obstacle> hindrance; // the first one
  std::vector<std::string> notes;    // worth knowing, but mete works
};

// `image` is the ELF file that gets loaded, `library` what will be preloaded into it.
preload_check check_preload(const std::string& image, const elf_identity& library);

// The part of the check that looks at the bytes only; `name` is for the messages.
preload_check check_preload_in(std::span<const std::byte> bytes, const std::string& name,
                               const elf_identity& library);

// How `image` gains rights when it is executed ("is setuid"), in which case the loader ignores
// LD_PRELOAD; empty when it does not.
std::string gained_rights(const std::string& image);

// The sanitizer that a program is built with, as -fsanitize= names it, or that a library is the
// runtime of; empty if there is none.
std::string sanitizer_in(std::span<const std::byte> bytes);

} // namespace mete::cli
