// operator new and delete, all forms.
//
// The library must load into C programs, so it cannot need libstdc++; but a failing operator new
// calls the new-handler and throws std::bad_alloc, which live there. The references are weak: in a
// C++ program they are resolved, in a C program nobody calls operator new. A program in C that
// loads C++ later (a plugin) is served by looking libstdc++ up at the moment of failure.
//
// SPDX-License-Identifier: MIT
#include "base/check.hpp"
#include "front/allocate.hpp"
#include "override/export.hpp"

#include <cstddef>
#include <new>

#if defined(METE_SHARED_LIBRARY)
#  include <dlfcn.h>
#endif

extern "C" {
// std::get_new_handler() and std::__throw_bad_alloc(), by the names the Itanium C++ ABI gives them.
[[gnu::weak]] std::new_handler _ZSt15get_new_handlerv() noexcept;
[[gnu::weak]] void _ZSt17__throw_bad_allocv();
}
// What the compiler refers to for the handler's exceptions (Clang to terminate, too, for those that
// would leave a noexcept function).
asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak _ZSt9terminatev\n");

namespace {

using namespace mete;

using get_handler_function = std::new_handler (*)() noexcept;
using throw_function = void (*)();

#if defined(METE_SHARED_LIBRARY)
void* find_in_late_runtime(const char* symbol) {
  void* const runtime = ::dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return runtime != nullptr ? ::dlsym(runtime, symbol) : nullptr;
}
#else
void* find_in_late_runtime(const char*) {
  return nullptr;
}
#endif

std::new_handler current_handler() {
  auto function = static_cast<get_handler_function>(_ZSt15get_new_handlerv);
  if (function == nullptr)
    function =
        reinterpret_cast<get_handler_function>(find_in_late_runtime("_ZSt15get_new_handlerv"));
  return function != nullptr ? function() : nullptr;
}

[[noreturn]] void throw_bad_alloc() {
  auto function = static_cast<throw_function>(_ZSt17__throw_bad_allocv);
  if (function == nullptr)
    function = reinterpret_cast<throw_function>(find_in_late_runtime("_ZSt17__throw_bad_allocv"));
  if (function != nullptr)
    function();
  message line;
  line << "operator new is out of memory, and there is no C++ runtime to throw std::bad_alloc with";
  die(line);
}

// One attempt for each call of the handler, until there is none: [new.delete.single].
template <class Attempt>
[[gnu::cold, gnu::noinline]] void* allocate_or_throw(Attempt attempt) {
  for (;;) {
    if (void* const block = attempt(); block != nullptr)
      return block;
    const std::new_handler handler = current_handler();
    if (handler == nullptr)
      throw_bad_alloc();
    handler();
  }
}

template <class Attempt>
[[gnu::cold, gnu::noinline]] void* allocate_or_null(Attempt attempt) noexcept {
  for (;;) {
    if (void* const block = attempt(); block != nullptr)
      return block;
    const std::new_handler handler = current_handler();
    if (handler == nullptr)
      return nullptr;
    try {
      handler();
    } catch (...) {
      return nullptr;
    }
  }
}

// Behind a tail call, so that the fast path needs no stack frame.
[[gnu::noinline]] void* allocate_throwing_slow(std::size_t size) {
  void* const block = front::allocate_uncached(size);
  if (block != nullptr) [[likely]]
    return block;
  return allocate_or_throw([=] { return front::allocate(size); });
}

[[gnu::noinline]] void* allocate_nothrow_slow(std::size_t size) noexcept {
  void* const block = front::allocate_uncached(size);
  if (block != nullptr) [[likely]]
    return block;
  return allocate_or_null([=] { return front::allocate(size); });
}

inline void* allocate_throwing(std::size_t size) {
  void* const block = front::allocate_cached(size);
  return block != nullptr ? block : allocate_throwing_slow(size);
}

inline void* allocate_nothrow(std::size_t size) noexcept {
  void* const block = front::allocate_cached(size);
  return block != nullptr ? block : allocate_nothrow_slow(size);
}

void* allocate_throwing(std::size_t size, std::align_val_t alignment) {
  const auto attempt = [=] {
    return front::allocate_aligned(static_cast<std::size_t>(alignment), size);
  };
  void* const block = attempt();
  return block != nullptr ? block : allocate_or_throw(attempt);
}

void* allocate_nothrow(std::size_t size, std::align_val_t alignment) noexcept {
  const auto attempt = [=] {
    return front::allocate_aligned(static_cast<std::size_t>(alignment), size);
  };
  void* const block = attempt();
  return block != nullptr ? block : allocate_or_null(attempt);
}

} // namespace

METE_EXPORT_HOT void* operator new(std::size_t size) {
  return allocate_throwing(size);
}
METE_EXPORT_HOT void* operator new[](std::size_t size) {
  return allocate_throwing(size);
}
METE_EXPORT void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate_nothrow(size);
}
METE_EXPORT void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate_nothrow(size);
}
METE_EXPORT void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_throwing(size, alignment);
}
METE_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_throwing(size, alignment);
}
METE_EXPORT void* operator new(std::size_t size, std::align_val_t alignment,
                               const std::nothrow_t&) noexcept {
  return allocate_nothrow(size, alignment);
}
METE_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment,
                                 const std::nothrow_t&) noexcept {
  return allocate_nothrow(size, alignment);
}

#define METE_DELETE(...)                                                                           \
  METE_EXPORT_HOT void operator delete(void* block __VA_OPT__(, ) __VA_ARGS__) noexcept {          \
    front::deallocate(block);                                                                      \
  }                                                                                                \
  METE_EXPORT_HOT void operator delete[](void* block __VA_OPT__(, ) __VA_ARGS__) noexcept {        \
    front::deallocate(block);                                                                      \
  }
METE_DELETE()
METE_DELETE(std::size_t)
METE_DELETE(std::align_val_t)
METE_DELETE(std::size_t, std::align_val_t)
METE_DELETE(const std::nothrow_t&)
METE_DELETE(std::align_val_t, const std::nothrow_t&)
#undef METE_DELETE
