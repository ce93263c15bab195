// What operator new needs of the C++ library when memory is out: the new-handler, and
// std::bad_alloc.
//
// The library must load into C programs, so it cannot need libstdc++. The references are weak: in a
// C++ program they are resolved, in a C program nobody calls operator new. A program in C that
// loads C++ later (a plugin) is served by looking its C++ library up at the moment of failure.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <new>

namespace mete::cxx_library {

// Whether there was a C++ library when this one was bound.
bool is_there();

// A function of a C++ library that was loaded later; nullptr if there is none.
void* find_late(const char* symbol);

// std::get_new_handler(), of whichever C++ library there is; nullptr without any.
std::new_handler current_handler();

// Reports that it cannot throw, and aborts, where there is no C++ library.
[[noreturn]] void throw_bad_alloc();

} // namespace mete::cxx_library
