// Checks of `mete doctor`: which allocator is active, and which others there are.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/finding.hpp"
#include "cli/subject.hpp"

#include <string>

namespace mete::cli {

// The object that provides malloc; null if it is not known or there is none.
const object_facts* malloc_provider(const subject& whose);

// Whether valgrind runs it: then malloc is valgrind's, whatever the symbol tables say.
bool under_valgrind(const subject& whose);

findings check_active_allocator(const subject& whose);

// Other allocators, inside the program or beside the active one.
findings check_other_allocators(const subject& whose);

// What `mete run` would do with a program; `library` is as for its option.
findings check_mete_run(const subject& whose, const std::string& library);

} // namespace mete::cli
