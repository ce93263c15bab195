// Whose operator new and delete a program uses, when they are not those of the C++ library or of
// the active allocator.
//
// A program may replace them; its own come before those of every library, preloaded or not. What
// C++ makes is then on the active malloc only as far as they call it. That cannot be seen from
// outside, but whether the file calls malloc at all can.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/finding.hpp"
#include "cli/subject.hpp"

#include <map>
#include <string>

namespace mete::cli {

// Whether the operators of this file are a C++ library's, which ask malloc.
bool has_operators_that_ask_malloc(const object_facts& object);

// Whether it has some that are neither a C++ library's nor a known allocator's.
bool replaces_operators(const object_facts& object);

// "operator new and delete", or the one of both that it has.
std::string name_operators(const object_facts& object);

// "operator new and delete come from PATH, which calls malloc, too: C++ objects are on mete only as
// far as these do". REQUIRES: replaces_operators(object).
std::string say_whose_operators(const object_facts& object, const std::string& allocator);

// Check `operators` of `mete doctor`. `providers`: find_providers() of active_allocator.hpp;
// `provider`: the object that malloc comes from.
findings check_operators(const subject& whose, const std::map<std::string, std::size_t>& providers,
                         std::size_t provider);

} // namespace mete::cli
