// operator new and delete, all forms.
//
// Four forms are basic: new and delete, plain and aligned. By [new.delete] of the C++ standard all
// others end in one of these, and a program may replace any form. So a form that is not basic jumps
// to the next one by its public name, which the loader (in a static program the linker) has bound
// to the program's function if it has one. That is one instruction, and nothing is asked at run
// time. The definitions are weak: in a static program those that the program replaces give way, and
// no compiler looks through their names. docs/decisions/0015-replaced-operators.md weighs other
// ways.
//
// What happens when memory is out is the C++ library's part (cxx_library.hpp).
//
// SPDX-License-Identifier: MIT
#include "front/allocate.hpp"
#include "override/cxx_library.hpp"
#include "override/export.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

// What the compiler refers to for the handler's exceptions (Clang to terminate, too, for those that
// would leave a noexcept function).
asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak _ZSt9terminatev\n");

// The definitions of this file by names that nobody else can define.
extern "C" {
#define METE_OWN [[gnu::visibility("hidden"), gnu::malloc, gnu::alloc_size(1)]] void*
METE_OWN mete_own_new(std::size_t) __attribute__((alias("_Znwm")));
METE_OWN mete_own_new_array(std::size_t) __attribute__((alias("_Znam")));
METE_OWN mete_own_new_aligned(std::size_t, std::align_val_t)
    __attribute__((alias("_ZnwmSt11align_val_t")));
METE_OWN mete_own_new_array_aligned(std::size_t, std::align_val_t)
    __attribute__((alias("_ZnamSt11align_val_t")));
#undef METE_OWN
[[gnu::visibility("hidden")]] void mete_own_delete(void*) noexcept __attribute__((alias("_ZdlPv")));
}

namespace {

using namespace mete;

using plain_new = void*(std::size_t);
using aligned_new = void*(std::size_t, std::align_val_t);
using plain_delete = void(void*) noexcept;
using nothrow_new = void*(std::size_t, const std::nothrow_t&);
using aligned_nothrow_new = void*(std::size_t, std::align_val_t, const std::nothrow_t&);

// Whether a public name leads to our own definition. Where it leads to a stub of the program, which
// then jumps to ours, the answer is no, and the longer way gives the same result.
template <class Function>
bool is_ours(Function* named, Function* own) {
  asm("" : "+r"(named)); // else compilers compare the names instead
  return named == own;
}

// One attempt for each call of the handler, until there is none: [new.delete.single].
template <class Attempt>
[[gnu::cold, gnu::noinline]] void* allocate_or_throw(Attempt attempt) {
  for (;;) {
    if (void* const block = attempt(); block != nullptr)
      return block;
    const std::new_handler handler = cxx_library::current_handler();
    if (handler == nullptr)
      cxx_library::throw_bad_alloc();
    handler();
  }
}

// `nothrow_form`: its name in the C++ ABI.
template <class Function, class... Arguments>
void* ask_late_library(const char* nothrow_form, Arguments... arguments) noexcept {
  void* const found = cxx_library::find_late(nothrow_form);
  return found != nullptr ? reinterpret_cast<Function*>(found)(arguments..., std::nothrow_t{})
                          : nullptr;
}

// Where the C++ library came later than this one, no exception can be caught here. That library's
// own nothrow form can catch it, and calls our throwing one.
template <class Attempt, class Late>
[[gnu::cold, gnu::noinline]] void* allocate_or_null(Attempt attempt, Late ask_late) noexcept {
  if (!cxx_library::is_there())
    return ask_late();
  for (;;) {
    if (void* const block = attempt(); block != nullptr)
      return block;
    const std::new_handler handler = cxx_library::current_handler();
    if (handler == nullptr)
      return nullptr;
    try {
      handler();
    } catch (...) {
      return nullptr;
    }
  }
}

// The way of a nothrow form when the program has replaced what it calls.
template <class Call>
[[gnu::cold, gnu::noinline]] void* null_if_thrown(Call call) noexcept {
  try {
    return call();
  } catch (...) {
    return nullptr;
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
  return allocate_or_null(
      [=] { return front::allocate(size); },
      [=] { return ask_late_library<nothrow_new>("_ZnwmRKSt9nothrow_t", size); });
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
  return block != nullptr ? block : allocate_or_null(attempt, [=] {
    return ask_late_library<aligned_nothrow_new>("_ZnwmSt11align_val_tRKSt9nothrow_t", size,
                                                 alignment);
  });
}

} // namespace

// The four basic forms.

METE_REPLACEABLE_HOT void* operator new(std::size_t size) {
  return allocate_throwing(size);
}
METE_REPLACEABLE void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_throwing(size, alignment);
}
METE_REPLACEABLE_HOT void operator delete(void* block) noexcept {
  front::deallocate(block);
}
METE_REPLACEABLE_HOT void operator delete(void* block, std::align_val_t) noexcept {
  front::deallocate(block);
}

// new[] calls new.

METE_REPLACEABLE void* operator new[](std::size_t size) {
  return ::operator new(size);
}
METE_REPLACEABLE void* operator new[](std::size_t size, std::align_val_t alignment) {
  return ::operator new(size, alignment);
}

// The nothrow forms call the throwing ones and catch. As long as these are ours, that is cut short.

METE_REPLACEABLE void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (is_ours<plain_new>(::operator new, mete_own_new)) [[likely]]
    return allocate_nothrow(size);
  return null_if_thrown([=] { return ::operator new(size); });
}
METE_REPLACEABLE void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  if (is_ours<plain_new>(::operator new[], mete_own_new_array) &&
      is_ours<plain_new>(::operator new, mete_own_new)) [[likely]]
    return allocate_nothrow(size);
  return null_if_thrown([=] { return ::operator new[](size); });
}
METE_REPLACEABLE void* operator new(std::size_t size, std::align_val_t alignment,
                                    const std::nothrow_t&) noexcept {
  if (is_ours<aligned_new>(::operator new, mete_own_new_aligned)) [[likely]]
    return allocate_nothrow(size, alignment);
  return null_if_thrown([=] { return ::operator new(size, alignment); });
}
METE_REPLACEABLE void* operator new[](std::size_t size, std::align_val_t alignment,
                                      const std::nothrow_t&) noexcept {
  if (is_ours<aligned_new>(::operator new[], mete_own_new_array_aligned) &&
      is_ours<aligned_new>(::operator new, mete_own_new_aligned)) [[likely]]
    return allocate_nothrow(size, alignment);
  return null_if_thrown([=] { return ::operator new[](size, alignment); });
}

// Sized delete, which C++ programs call most, does not even jump. It is operator delete once more,
// but counts units from a base of its own. Until that is set, and for ever where operator delete is
// not ours, every block is beyond the region, so that the usual comparison leads to the slow path.

namespace {

// It changes once, and every thread may read either value: with the first it takes the slow path
// once more.
constexpr std::uintptr_t minus_base_beyond = std::uintptr_t{1} << 63;
constinit std::atomic<std::uintptr_t> minus_base_for_sized{minus_base_beyond};

[[gnu::noinline]] void delete_sized_slow(void* block) noexcept {
  if (is_ours<plain_delete>(::operator delete, mete_own_delete)) [[likely]] {
    if (minus_base_for_sized.load(std::memory_order_relaxed) != minus_base_beyond) [[likely]]
      return front::deallocate_slow(block);
    if (page::primary.committed_units.load(std::memory_order_acquire) != 0)
      minus_base_for_sized.store(page::primary.minus_base.load(std::memory_order_relaxed),
                                 std::memory_order_relaxed);
  }
  ::operator delete(block);
}

} // namespace

METE_REPLACEABLE_HOT void operator delete(void* block, std::size_t) noexcept {
  front::deallocate<delete_sized_slow>(block, minus_base_for_sized);
}

// delete[] calls delete; what has a size or std::nothrow calls the same form without it.

#define METE_FORWARD(form, parameters, target, arguments)                                          \
  METE_REPLACEABLE void operator form parameters noexcept {                                        \
    ::operator target arguments;                                                                   \
  }
METE_FORWARD(delete[], (void* block), delete, (block))
METE_FORWARD(delete[], (void* block, std::size_t), delete[], (block))
METE_FORWARD(delete, (void* block, const std::nothrow_t&), delete, (block))
METE_FORWARD(delete[], (void* block, const std::nothrow_t&), delete[], (block))
METE_FORWARD(delete[], (void* block, std::align_val_t a), delete, (block, a))
METE_FORWARD(delete, (void* block, std::size_t, std::align_val_t a), delete, (block, a))
METE_FORWARD(delete[], (void* block, std::size_t, std::align_val_t a), delete[], (block, a))
METE_FORWARD(delete, (void* block, std::align_val_t a, const std::nothrow_t&), delete, (block, a))
METE_FORWARD(delete[], (void* block, std::align_val_t a, const std::nothrow_t&), delete[],
             (block, a))
#undef METE_FORWARD
