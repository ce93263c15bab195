// Fork handlers: mete's are the first to be registered, whatever the order of libraries.
//
// Handlers that are registered first run last before a fork, and first after it. Only then may
// those of other libraries allocate, or wait for threads that do: mete is not preparing yet, or
// done. But a constructor of mete's is not early enough: a preloaded library is initialised after
// those that the program is linked to. So this function, which pthread_atfork() of every library
// calls, is interposed: it registers mete's handlers and then goes on to the C library's own.
//
// Decision: docs/decisions/0014-fork-closes-a-gate.md.
//
// SPDX-License-Identifier: MIT
#include "front/fork.hpp"
#include "override/export.hpp"

#include <cerrno>
#include <dlfcn.h>

namespace {

using handler = void (*)();
using register_function = int (*)(handler, handler, handler, void*);

#if !defined(METE_SHARED_LIBRARY)
// A static program has no dlsym(), and takes the C library's __register_atfork, because what is
// declared weak below gives way to it. There the constructor has to be early enough.
extern "C" [[gnu::weak]] void* dlsym(void*, const char*) noexcept;
#  pragma GCC diagnostic push
#  if defined(__clang__)
#    pragma clang diagnostic ignored "-Wunknown-warning-option"
#  endif
#  pragma GCC diagnostic ignored "-Wprio-ctor-dtor" // those up to 100 are for implementations: this
[[gnu::constructor(1)]] void register_early() {
  mete::front::register_for_fork();
}
#  pragma GCC diagnostic pop
#  define METE_WEAK_IF_STATIC [[gnu::weak]]
#else
#  define METE_WEAK_IF_STATIC
#endif

register_function next_register() {
  void* found = nullptr;
#if !defined(METE_SHARED_LIBRARY)
  if (dlsym == nullptr)
    return nullptr;
#endif
  found = ::dlsym(RTLD_NEXT, "__register_atfork");
  return reinterpret_cast<register_function>(found);
}

} // namespace

// `library` is the caller's __dso_handle: when that is closed, the C library drops its handlers.
extern "C" METE_WEAK_IF_STATIC METE_EXPORT int
__register_atfork(handler prepare, handler parent, handler child, void* library) noexcept {
  mete::front::register_for_fork();
  const register_function next = next_register();
  return next != nullptr ? next(prepare, parent, child, library) : ENOSYS;
}
