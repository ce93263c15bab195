/* mete: native C interface of the allocator.
 *
 * Everything that the standard interface (malloc, free, operator new, ...) has no words for: the
 * version, heaps that are destroyed with everything in them, giving memory back on request, and
 * options at run time. All functions are thread-safe unless they say otherwise.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef METE_METE_H
#define METE_METE_H

#include <stddef.h>

#define METE_VERSION_MAJOR 0
#define METE_VERSION_MINOR 1
#define METE_VERSION_PATCH 0
#define METE_VERSION "0.1.0"

#if defined(__GNUC__)
#  define METE_API __attribute__((visibility("default")))
#else
#  define METE_API
#endif

#ifdef __cplusplus
extern "C" {
#  define METE_NOEXCEPT noexcept
#else
#  define METE_NOEXCEPT
#endif

/* The version of the library that is loaded, "major.minor.patch"; compare with METE_VERSION, the
 * version of this header. O(1). */
METE_API const char* mete_version(void) METE_NOEXCEPT;

/* Bytes that may be used at `block`, at least what was asked for; 0 for NULL.
 * REQUIRES: `block` is NULL or a live block of this allocator. O(1). */
METE_API size_t mete_malloc_usable_size(const void* block) METE_NOEXCEPT;

/* Gives memory back to the operating system now: this thread's caches are emptied, frees that are
 * under way between threads are delivered, and every page without a live block is purged.
 * Returns the bytes that were purged. O(memory held). */
METE_API size_t mete_collect(void) METE_NOEXCEPT;

/* An explicit heap: blocks that are allocated in it can be freed one by one, with free() or
 * mete_heap_free(), and all that are left die with mete_heap_destroy(). Any thread may allocate
 * in it and free its blocks; a lock inside serialises them. */
typedef struct mete_heap mete_heap;

/* A new, empty heap; NULL with errno ENOMEM when there is no memory for it. */
METE_API mete_heap* mete_heap_create(void) METE_NOEXCEPT;

/* Destroys `heap` and every block in it at once. NULL is ignored. O(size classes and slabs in use),
 * whatever other threads do.
 * REQUIRES: no other thread uses `heap` or a block of it during or after the call; their calls of
 * free() with blocks of it have returned. */
METE_API void mete_heap_destroy(mete_heap* heap) METE_NOEXCEPT;

/* As malloc, calloc, aligned_alloc and realloc, but in `heap`; the same errors. The block given
 * to mete_heap_realloc must be NULL or of `heap`. Plain realloc() may be used as well: a block of
 * a heap stays in its heap, however often and by whichever function it is resized. */
METE_API void* mete_heap_malloc(mete_heap* heap, size_t size) METE_NOEXCEPT;
METE_API void* mete_heap_calloc(mete_heap* heap, size_t count, size_t size) METE_NOEXCEPT;
METE_API void* mete_heap_aligned_alloc(mete_heap* heap, size_t alignment,
                                       size_t size) METE_NOEXCEPT;
METE_API void* mete_heap_realloc(mete_heap* heap, void* block, size_t size) METE_NOEXCEPT;

/* As free(block). NULL is ignored. */
METE_API void mete_heap_free(mete_heap* heap, void* block) METE_NOEXCEPT;

/* Options, by the names and units of METE_OPTIONS (see docs/options.md).
 * Both return 0 on success, ENOENT for an unknown name, EINVAL for a value out of range, EPERM for
 * an option that can be set at start only. */
METE_API int mete_option_get(const char* name, long long* value) METE_NOEXCEPT;
METE_API int mete_option_set(const char* name, long long value) METE_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
