// The core of mete, called directly: what sanitizer builds can stress.
//
// SPDX-License-Identifier: MIT
#include "subject.hpp"

#include "front/allocate.hpp"

namespace stress::subject {

const char* prepare() {
  return "mete's core";
}

void* allocate(std::size_t size) {
  return mete::front::allocate(size);
}

void* allocate_zeroed(std::size_t size) {
  return mete::front::allocate_zeroed(size);
}

void* allocate_aligned(std::size_t alignment, std::size_t size) {
  return mete::front::allocate_aligned(alignment, size);
}

void* reallocate(void* block, std::size_t size) {
  return mete::front::reallocate(block, size);
}

void deallocate(void* block) {
  mete::front::deallocate(block);
}

} // namespace stress::subject
