// dlopen without RTLD_DEEPBIND.
//
// A library opened with that flag looks its symbols up in itself and its dependencies first, so its
// free() is the C library's, and frees blocks that this malloc gave it: the process dies, as PHP
// does with any preloaded malloc. An allocator that is interposed must be interposed everywhere, so
// the flag is dropped. Nothing else changes; the call is a tail call because the loader looks at
// the return address to find the caller's search path.
//
// SPDX-License-Identifier: MIT
#include "override/export.hpp"

#include <dlfcn.h>

#if defined(__clang__)
#  define METE_TAIL_CALL [[clang::musttail]]
#else
#  define METE_TAIL_CALL // this file is compiled with -foptimize-sibling-calls
#endif

namespace {

using dlopen_function = void* (*)(const char*, int);

// Two threads may both look it up; they find the same.
dlopen_function next_dlopen() {
  static dlopen_function next = nullptr;
  dlopen_function found = __atomic_load_n(&next, __ATOMIC_RELAXED);
  if (found == nullptr) {
    found = reinterpret_cast<dlopen_function>(::dlsym(RTLD_NEXT, "dlopen"));
    __atomic_store_n(&next, found, __ATOMIC_RELAXED);
  }
  return found;
}

} // namespace

extern "C" METE_EXPORT void* dlopen(const char* file, int flags) noexcept {
  const dlopen_function next = next_dlopen();
  METE_TAIL_CALL return next(file, flags & ~RTLD_DEEPBIND);
}
