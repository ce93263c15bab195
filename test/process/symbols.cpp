// Every name under which programs and libraries allocate or free leads into mete. One name left to
// the C library is a crash in waiting: a block of one allocator freed by the other. The linked-in
// build matters most: there, a name that the program itself does not use must still come along,
// because a plugin may use it.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

namespace {

const char* const names[] = {
    "malloc", "calloc", "realloc", "reallocarray", "free", "free_sized", "free_aligned_sized",
    "aligned_alloc", "posix_memalign", "memalign", "valloc", "pvalloc", "cfree",
    "malloc_usable_size", "malloc_good_size", "malloc_trim", "mallinfo", "mallinfo2", "malloc_info",
    "malloc_stats", "mallopt",
    // What glibc calls itself by, and some programs interpose or call.
    "__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free", "__libc_memalign",
    "__libc_valloc", "__libc_pvalloc", "__posix_memalign",
    // operator new: plain, array, nothrow, aligned, aligned nothrow.
    "_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    // operator delete: plain, array, nothrow, sized, aligned, aligned nothrow, sized aligned.
    "_ZdlPv", "_ZdaPv", "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t", "_ZdlPvm", "_ZdaPvm",
    "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t", "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
    // The native interface.
    "mete_version", "mete_malloc_usable_size", "mete_collect", "mete_heap_create",
    "mete_heap_destroy", "mete_heap_malloc", "mete_heap_calloc", "mete_heap_aligned_alloc",
    "mete_heap_realloc", "mete_heap_free", "mete_option_get", "mete_option_set"};

// Blocks from the C library's internal names are ordinary blocks.
void internal_names_work_together() {
  auto* allocate = find_function<void*(std::size_t)>("__libc_malloc");
  auto* allocate_zero = find_function<void*(std::size_t, std::size_t)>("__libc_calloc");
  auto* resize = find_function<void*(void*, std::size_t)>("__libc_realloc");
  auto* release = find_function<void(void*)>("__libc_free");
  auto* allocate_aligned = find_function<void*(std::size_t, std::size_t)>("__libc_memalign");
  for (std::size_t size = 0; size < 3 * mib; size += 1 + size / 4) {
    free(allocate(size));
    release(malloc(size));
    void* zero = allocate_zero(1, size);
    CHECK(all_bytes_are(zero, size, 0));
    zero = resize(zero, size * 2 + 1);
    CHECK(all_bytes_are(zero, size, 0));
    free(zero);
    void* aligned = allocate_aligned(512, size);
    CHECK(is_aligned(aligned, 512));
    release(aligned);
  }
}

} // namespace

int main() {
  if (require_mete()) {
    void* home = check_object_of("mete_version");
    int missing = 0;
    for (const char* name : names) {
      if (check_object_of(name) != home) {
        std::fprintf(stderr, "not defined by mete: %s\n", name);
        ++missing;
      }
    }
    CHECK_EQ(missing, 0);
  }
  internal_names_work_together();
}
