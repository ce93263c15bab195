// Replacements of single forms of operator new and delete: of those whose name is defined as
// REPLACE_<form>. They count and hand on to malloc and free, so that blocks of any form of new may
// end in any form of delete.
//
// SPDX-License-Identifier: MIT
#include "replaced_new.hpp"

#include <cstdlib>
#include <new>

replacements the_replacements;
thread_local int calls_of[form_count];

namespace {

[[maybe_unused]] bool note(form which) {
  the_replacements.replaced[static_cast<std::size_t>(which)] = true;
  return true;
}

[[maybe_unused]] void* counted_new(form which, std::size_t size, std::align_val_t alignment) {
  ++calls_of[static_cast<std::size_t>(which)];
  if (the_replacements.throws)
    return nullptr;
  const auto bytes = static_cast<std::size_t>(alignment);
  return aligned_alloc(bytes, (size + bytes - 1) / bytes * bytes);
}

[[maybe_unused]] void* throwing_new(form which, std::size_t size, std::align_val_t alignment) {
  void* const block = counted_new(which, size, alignment);
  if (block == nullptr)
    throw std::bad_alloc();
  return block;
}

[[maybe_unused]] void counted_delete(form which, void* block) {
  ++calls_of[static_cast<std::size_t>(which)];
  std::free(block);
}

[[maybe_unused]] constexpr std::align_val_t usual{16};

} // namespace

#define NEW(which, name, attribute, function, alignment, ...)                                      \
  const bool noted_##which = note(form::which);                                                    \
  void* operator name(std::size_t size __VA_OPT__(, ) __VA_ARGS__) attribute {                     \
    return function(form::which, size, alignment);                                                 \
  }
#define DELETE(which, name, ...)                                                                   \
  const bool noted_##which = note(form::which);                                                    \
  void operator name(void* block __VA_OPT__(, ) __VA_ARGS__) noexcept {                            \
    counted_delete(form::which, block);                                                            \
  }

#ifdef REPLACE_new_plain
NEW(new_plain, new, , throwing_new, usual)
#endif
#ifdef REPLACE_new_array
NEW(new_array, new[], , throwing_new, usual)
#endif
#ifdef REPLACE_new_nothrow
NEW(new_nothrow, new, noexcept, counted_new, usual, const std::nothrow_t&)
#endif
#ifdef REPLACE_new_array_nothrow
NEW(new_array_nothrow, new[], noexcept, counted_new, usual, const std::nothrow_t&)
#endif
#ifdef REPLACE_new_aligned
NEW(new_aligned, new, , throwing_new, a, std::align_val_t a)
#endif
#ifdef REPLACE_new_array_aligned
NEW(new_array_aligned, new[], , throwing_new, a, std::align_val_t a)
#endif
#ifdef REPLACE_new_aligned_nothrow
NEW(new_aligned_nothrow, new, noexcept, counted_new, a, std::align_val_t a, const std::nothrow_t&)
#endif
#ifdef REPLACE_new_array_aligned_nothrow
NEW(new_array_aligned_nothrow, new[], noexcept, counted_new, a, std::align_val_t a,
    const std::nothrow_t&)
#endif

#ifdef REPLACE_delete_plain
DELETE(delete_plain, delete)
#endif
#ifdef REPLACE_delete_array
DELETE(delete_array, delete[])
#endif
#ifdef REPLACE_delete_sized
DELETE(delete_sized, delete, std::size_t)
#endif
#ifdef REPLACE_delete_array_sized
DELETE(delete_array_sized, delete[], std::size_t)
#endif
#ifdef REPLACE_delete_nothrow
DELETE(delete_nothrow, delete, const std::nothrow_t&)
#endif
#ifdef REPLACE_delete_array_nothrow
DELETE(delete_array_nothrow, delete[], const std::nothrow_t&)
#endif
#ifdef REPLACE_delete_aligned
DELETE(delete_aligned, delete, std::align_val_t)
#endif
#ifdef REPLACE_delete_array_aligned
DELETE(delete_array_aligned, delete[], std::align_val_t)
#endif
#ifdef REPLACE_delete_aligned_sized
DELETE(delete_aligned_sized, delete, std::size_t, std::align_val_t)
#endif
#ifdef REPLACE_delete_array_aligned_sized
DELETE(delete_array_aligned_sized, delete[], std::size_t, std::align_val_t)
#endif
#ifdef REPLACE_delete_aligned_nothrow
DELETE(delete_aligned_nothrow, delete, std::align_val_t, const std::nothrow_t&)
#endif
#ifdef REPLACE_delete_array_aligned_nothrow
DELETE(delete_array_aligned_nothrow, delete[], std::align_val_t, const std::nothrow_t&)
#endif
