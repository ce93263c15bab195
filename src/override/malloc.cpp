// The C allocation functions, to the letter of C, POSIX and, where they are silent, glibc.
//
// SPDX-License-Identifier: MIT
#include "base/bits.hpp"
#include "front/allocate.hpp"
#include "front/initialise.hpp"
#include "os/memory.hpp"
#include "override/export.hpp"

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <malloc.h>

using namespace mete;

extern "C" {

METE_EXPORT_HOT void* malloc(std::size_t size) noexcept {
  return front::allocate(size);
}

METE_EXPORT_HOT void free(void* block) noexcept {
  front::deallocate(block);
}

METE_EXPORT void* calloc(std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) [[unlikely]] {
    errno = ENOMEM;
    return nullptr;
  }
  return front::allocate_zeroed(bytes);
}

// As glibc: a size of 0 frees the block.
METE_EXPORT void* realloc(void* block, std::size_t size) noexcept {
  if (size == 0 && block != nullptr) {
    front::deallocate(block);
    return nullptr;
  }
  return front::reallocate(block, size);
}

METE_EXPORT void* reallocarray(void* block, std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) [[unlikely]] {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(block, bytes);
}

// C17: an alignment that is no power of two is an error, as in glibc from 2.38.
METE_EXPORT void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  if (!is_power_of_two(alignment)) [[unlikely]] {
    errno = EINVAL;
    return nullptr;
  }
  return front::allocate_aligned(alignment, size);
}

METE_EXPORT int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) [[unlikely]]
    return EINVAL;
  const int saved_errno = errno;
  void* const block = front::allocate_aligned(alignment, size);
  errno = saved_errno;
  if (block == nullptr) [[unlikely]]
    return ENOMEM;
  *result = block;
  return 0;
}

// As glibc: an alignment that is no power of two is rounded up to one.
METE_EXPORT void* memalign(std::size_t alignment, std::size_t size) noexcept {
  if (alignment > SIZE_MAX / 2 + 1) [[unlikely]] {
    errno = EINVAL;
    return nullptr;
  }
  return front::allocate_aligned(std::bit_ceil(alignment), size);
}

METE_EXPORT void* valloc(std::size_t size) noexcept {
  front::initialise();
  return front::allocate_aligned(os::page_bytes, size);
}

METE_EXPORT void* pvalloc(std::size_t size) noexcept {
  front::initialise();
  if (size > PTRDIFF_MAX) [[unlikely]] {
    errno = ENOMEM;
    return nullptr;
  }
  const std::size_t whole = align_up(size == 0 ? 1 : size, os::page_bytes);
  return front::allocate_aligned(os::page_bytes, whole);
}

METE_EXPORT std::size_t malloc_usable_size(void* block) noexcept {
  return front::usable_size(block);
}

// C23. The size is a hint that free() does not need.
METE_EXPORT void free_sized(void* block, std::size_t) noexcept {
  front::deallocate(block);
}
METE_EXPORT void free_aligned_sized(void* block, std::size_t, std::size_t) noexcept {
  front::deallocate(block);
}

// From the BSDs and macOS, and from the past.
METE_EXPORT std::size_t malloc_good_size(std::size_t size) noexcept {
  return front::good_size(size);
}
METE_EXPORT void cfree(void* block) noexcept {
  front::deallocate(block);
}

// What programs that know glibc call, to get past an interposer.
METE_EXPORT void* __libc_malloc(std::size_t size) noexcept {
  return front::allocate(size);
}
METE_EXPORT void __libc_free(void* block) noexcept {
  front::deallocate(block);
}
METE_EXPORT void* __libc_calloc(std::size_t count, std::size_t size) noexcept {
  return calloc(count, size);
}
METE_EXPORT void* __libc_realloc(void* block, std::size_t size) noexcept {
  return realloc(block, size);
}
METE_EXPORT void* __libc_reallocarray(void* block, std::size_t count, std::size_t size) noexcept {
  return reallocarray(block, count, size);
}
METE_EXPORT void* __libc_memalign(std::size_t alignment, std::size_t size) noexcept {
  return memalign(alignment, size);
}
METE_EXPORT void* __libc_valloc(std::size_t size) noexcept {
  return valloc(size);
}
METE_EXPORT void* __libc_pvalloc(std::size_t size) noexcept {
  return pvalloc(size);
}
METE_EXPORT int __posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  return posix_memalign(result, alignment, size);
}

} // extern "C"
