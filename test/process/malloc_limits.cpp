// Requests that cannot be met: sizes above PTRDIFF_MAX, products that overflow, alignments as large
// as the address space. Each gives NULL and ENOMEM, and leaves everything usable.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <cerrno>
#include <malloc.h>

namespace {

bool mete;

#define CHECK_NO_MEMORY(call)                                                                      \
  do {                                                                                             \
    errno = 0;                                                                                     \
    void* none = (call);                                                                           \
    CHECK_EQ(none, nullptr);                                                                       \
    CHECK_EQ(errno, ENOMEM);                                                                       \
  } while (0)

void check_size(std::size_t size) {
  size = hide(size);
  CHECK_NO_MEMORY(malloc(size));
  CHECK_NO_MEMORY(calloc(1, size));
  CHECK_NO_MEMORY(calloc(size, 1));
  CHECK_NO_MEMORY(realloc(nullptr, size));
  CHECK_NO_MEMORY(reallocarray(nullptr, size, 1));
  CHECK_NO_MEMORY(aligned_alloc(64, size));
  CHECK_NO_MEMORY(memalign(64, size));
  CHECK_NO_MEMORY(memalign(2 * mib, size));
  CHECK_NO_MEMORY(valloc(size));
  CHECK_NO_MEMORY(pvalloc(size));

  void* untouched = &size;
  errno = 1234;
  CHECK_EQ(posix_memalign(&untouched, 64, size), ENOMEM);
  if (mete) { // glibc 2.36 sets it on this path, which its manual denies
    CHECK_EQ(errno, 1234);
  }
  CHECK_EQ(untouched, &size);

  for (std::size_t before : size_list{std::size_t{10}, 100 * kib, 8 * mib}) {
    void* block = malloc(before);
    std::memset(block, 0x5a, before);
    CHECK_NO_MEMORY(realloc(block, size));
    CHECK(all_bytes_are(block, before, 0x5a));
    free(block);
  }
}

void check_product(std::size_t count, std::size_t size) {
  count = hide(count);
  size = hide(size);
  CHECK_NO_MEMORY(calloc(count, size));
  CHECK_NO_MEMORY(calloc(size, count));
  CHECK_NO_MEMORY(reallocarray(nullptr, count, size));
  void* block = malloc(1000);
  std::memset(block, 0x77, 1000);
  CHECK_NO_MEMORY(reallocarray(block, count, size));
  CHECK_NO_MEMORY(reallocarray(block, size, count));
  CHECK(all_bytes_are(block, 1000, 0x77));
  free(block);
}

void check_alignment(std::size_t alignment) {
  alignment = hide(alignment);
  CHECK_NO_MEMORY(aligned_alloc(alignment, alignment));
  CHECK_NO_MEMORY(aligned_alloc(alignment, 1));
  CHECK_NO_MEMORY(memalign(alignment, 1));
  void* untouched = &alignment;
  errno = 1234;
  CHECK_EQ(posix_memalign(&untouched, alignment, 1), ENOMEM);
  if (mete) {
    CHECK_EQ(errno, 1234);
  }
  CHECK_EQ(untouched, &alignment);
}

} // namespace

int main() {
  mete = require_mete();
  constexpr std::size_t half = std::size_t{1} << 63;
  for (std::size_t size :
       size_list{half, half + 1, half - 1, half - 15, half - 4096, half - 64 * kib, half - 2 * mib,
                 half - 4 * mib, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16,
                 SIZE_MAX - 4095, SIZE_MAX - 4096, SIZE_MAX - 64 * kib, SIZE_MAX - 2 * mib,
                 half / 2, std::size_t{1} << 48}) {
    check_size(size);
  }
  constexpr std::size_t root = std::size_t{1} << 32;
  check_product(root, root);
  check_product(root + 1, root - 1);
  check_product(root * 2, root);
  check_product(half, 2);
  check_product(half + 1, 2);
  check_product(SIZE_MAX, 2);
  check_product(SIZE_MAX, SIZE_MAX);
  check_product(SIZE_MAX / 16 + 1, 16);
  check_product(SIZE_MAX / 3 + 1, 3);
  check_alignment(half / 2);
  check_alignment(std::size_t{1} << 50);

  void* none_of_many = calloc(hide(std::size_t{0}), hide(SIZE_MAX));
  void* many_of_none = calloc(hide(SIZE_MAX), hide(std::size_t{0}));
  CHECK(none_of_many != nullptr && many_of_none != nullptr && none_of_many != many_of_none);
  free(none_of_many);
  free(many_of_none);
}
