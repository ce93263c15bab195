// Aligned allocation: every alignment from 1 to 4 MiB with sizes small and large, and the errors
// of each function to the letter.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <cerrno>
#include <gnu/libc-version.h>
#include <malloc.h>

namespace {

// Several live at once: one lucky block proves nothing.
template <class Allocate>
void check_aligned(std::size_t alignment, std::size_t size, Allocate allocate) {
  void* blocks[6];
  for (unsigned i = 0; i < 6; ++i) {
    blocks[i] = allocate(alignment, size);
    CHECK(blocks[i] != nullptr);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(blocks[i]) % alignment, 0);
    CHECK(is_aligned(blocks[i], 16));
    std::size_t usable = malloc_usable_size(blocks[i]);
    CHECK_GE(usable, size);
    std::memset(blocks[i], static_cast<int>(i + 1), usable < 100 * kib ? usable : size);
  }
  for (unsigned i = 0; i < 6; ++i) {
    CHECK(all_bytes_are(blocks[i], size, static_cast<unsigned char>(i + 1)));
    free(blocks[i]);
  }
}

void every_alignment_and_size() {
  const std::size_t sizes[] = {0,    1,    7,     16,    24,    48,     100,     1000,    4095,
                               4096, 5000, 32768, 65536, 65537, 100000, 1000000, 2 * mib, 3 * mib};
  for (std::size_t alignment = 1; alignment <= 4 * mib; alignment *= 2) {
    for (std::size_t size : sizes) {
      check_aligned(alignment, size,
                    [](std::size_t a, std::size_t n) { return aligned_alloc(a, n); });
      check_aligned(alignment, size, [](std::size_t a, std::size_t n) { return memalign(a, n); });
      if (alignment >= sizeof(void*)) {
        check_aligned(alignment, size, [](std::size_t a, std::size_t n) {
          void* block = nullptr;
          errno = 1234;
          CHECK_EQ(posix_memalign(&block, a, n), 0);
          CHECK_EQ(errno, 1234);
          return block;
        });
      }
    }
  }
}

void aligned_alloc_refuses_alignments_that_are_no_power_of_two() {
  for (std::size_t alignment : size_list{0, 3, 24, 48, 100, 4097, 65535}) {
    errno = 0;
    CHECK_EQ(aligned_alloc(hide(alignment), 64), nullptr);
    CHECK_EQ(errno, EINVAL);
  }
}

void posix_memalign_returns_its_errors(bool mete) {
  int target = 0;
  for (std::size_t alignment : size_list{0, 1, 2, 4, 3, 12, 24, 48, 100, 4097}) {
    void* untouched = &target;
    errno = 1234;
    CHECK_EQ(posix_memalign(&untouched, hide(alignment), 64), EINVAL);
    CHECK_EQ(errno, 1234);
    CHECK_EQ(untouched, &target);
  }
  void* untouched = &target;
  CHECK_EQ(posix_memalign(&untouched, 64, hide(SIZE_MAX)), ENOMEM);
  if (mete) { // glibc 2.36 sets it on this path, which its manual denies
    CHECK_EQ(errno, 1234);
  }
  CHECK_EQ(untouched, &target);
}

// glibc's memalign rounds an odd alignment up, and refuses only what cannot be rounded.
void memalign_rounds_up() {
  for (std::size_t alignment : size_list{0, 3, 24, 48, 100, 4097}) {
    std::size_t rounded = 1;
    while (rounded < alignment) {
      rounded *= 2;
    }
    void* block = memalign(hide(alignment), 100);
    CHECK(block != nullptr);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(block) % rounded, 0);
    free(block);
  }
  errno = 0;
  CHECK_EQ(memalign(hide(SIZE_MAX / 2 + 2), 100), nullptr);
  CHECK_EQ(errno, EINVAL);
}

void page_aligned() {
  std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (std::size_t size :
       size_list{std::size_t{0}, std::size_t{1}, page - 1, page, page + 1, 3 * mib}) {
    void* block = valloc(size);
    CHECK(block != nullptr && is_aligned(block, page));
    CHECK_GE(malloc_usable_size(block), size);
    void* whole = pvalloc(size);
    CHECK(whole != nullptr && is_aligned(whole, page));
    CHECK_GE(malloc_usable_size(whole), (size + page - 1) / page * page);
    free(block);
    free(whole);
  }
}

} // namespace

int main() {
  bool mete = require_mete();
  every_alignment_and_size();
  if (mete || strverscmp(gnu_get_libc_version(), "2.38") >= 0) {
    aligned_alloc_refuses_alignments_that_are_no_power_of_two();
  }
  posix_memalign_returns_its_errors(mete);
  memalign_rounds_up();
  page_aligned();
}
