// The C++ library, as far as there is one. See cxx_library.hpp.
//
// SPDX-License-Identifier: MIT
#include "override/cxx_library.hpp"

#include "base/check.hpp"

#include <initializer_list>

#if defined(METE_SHARED_LIBRARY)
#  include <dlfcn.h>
#endif

extern "C" {
// std::get_new_handler() and std::__throw_bad_alloc(), by the names the Itanium C++ ABI gives them.
[[gnu::weak]] std::new_handler _ZSt15get_new_handlerv() noexcept;
[[gnu::weak]] void _ZSt17__throw_bad_allocv();
}

namespace mete::cxx_library {
namespace {

using get_handler_function = std::new_handler (*)() noexcept;
using throw_function = void (*)();

} // namespace

bool is_there() {
  return _ZSt15get_new_handlerv != nullptr;
}

#if defined(METE_SHARED_LIBRARY)
void* find_late(const char* symbol) {
  for (const char* const name : {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"})
    if (void* const library = ::dlopen(name, RTLD_LAZY | RTLD_NOLOAD); library != nullptr)
      if (void* const found = ::dlsym(library, symbol); found != nullptr)
        return found;
  return nullptr;
}
#else
void* find_late(const char*) {
  return nullptr;
}
#endif

std::new_handler current_handler() {
  auto function = static_cast<get_handler_function>(_ZSt15get_new_handlerv);
  if (function == nullptr)
    function = reinterpret_cast<get_handler_function>(find_late("_ZSt15get_new_handlerv"));
  return function != nullptr ? function() : nullptr;
}

void throw_bad_alloc() {
  auto function = static_cast<throw_function>(_ZSt17__throw_bad_allocv);
  if (function == nullptr)
    function = reinterpret_cast<throw_function>(find_late("_ZSt17__throw_bad_allocv"));
  if (function != nullptr)
    function();
  message line;
  line << "operator new is out of memory, and there is no C++ runtime to throw std::bad_alloc with";
  die(line);
}

} // namespace mete::cxx_library
