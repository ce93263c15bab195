// The process's malloc, proved to be mete's unless METE_TEST_ANY_ALLOCATOR=1.
//
// SPDX-License-Identifier: MIT
#include "subject.hpp"

#include <check.hpp>

namespace stress::subject {

const char* prepare() {
  const bool mete = require_mete();
  alarm(0); // the run has its own length
  return mete ? "mete" : "this process's malloc";
}

void* allocate(std::size_t size) {
  return hide(std::malloc(hide(size)));
}

// Two factors, as programs call it.
void* allocate_zeroed(std::size_t size) {
  const std::size_t element = size % 8 == 0 ? 8 : 1;
  return hide(std::calloc(hide(size / element), hide(element)));
}

void* allocate_aligned(std::size_t alignment, std::size_t size) {
  void* block = nullptr;
  return posix_memalign(&block, hide(alignment), hide(size)) == 0 ? hide(block) : nullptr;
}

void* reallocate(void* block, std::size_t size) {
  return hide(std::realloc(block, hide(size)));
}

void deallocate(void* block) {
  std::free(hide(block));
}

} // namespace stress::subject
