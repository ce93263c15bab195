// The front: allocate and free, fast paths inline.
//
// malloc: look up the size's bin, pop, remove the mark of freed blocks. free: look up the unit's
// tag; if its owner is this thread, the rest of the tag is the bin. If a block begins at the
// address and bears no mark: mark it, push. Everything else, from the first call of a thread to a
// foreign pointer or a second free, falls out of the same compares into a slow path (allocate.cpp).
//
// Sizes above 1 KiB have a table of their own, behind a jump (allocate_uncached): the two in one
// would cost the smaller ones, which are most, an instruction or a branch.
//
// The budget (checked by test/repository/fast_path_test.py): malloc up to 1 KiB at most 15
// instructions and 2 branches; free of a local block at most 25 instructions and 5 branches.
//
// Errors: nullptr with errno ENOMEM (or EINVAL where said); errno is otherwise untouched. Misuse
// that is detected ends in base/check.hpp's misuse(). Thread safety: all functions.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/freed_mark.hpp"
#include "heap/size_class.hpp"
#include "heap/thread_access.hpp"
#include "page/region.hpp"

#include <cstddef>

namespace mete::front {

// noexcept, so that functions which are can end in a jump to them.
[[gnu::aligned(64)]] void* allocate_uncached(std::size_t size) noexcept;
void deallocate_slow(void* block) noexcept;

// The newest block of a bin of the thread's cache; nullptr if it is empty.
inline void* pop(std::size_t bin) {
  const heap::thread_access thread;
  void** top = thread.top(bin);
#if defined(__x86_64__)
  asm("" : "+d"(top)); // and not where the result belongs
#endif
  void* const block = *top;
  if (block != nullptr) [[likely]] {
    thread.set_top(bin, top - 1);
    heap::second_word(block) = 0; // the mark of a freed block
  }
  return block;
}

// A block of up to 1 KiB, if the thread's cache has one; otherwise nullptr.
inline void* allocate_cached(std::size_t size) {
  std::size_t step = (size - 1) >> 4; // 0 becomes huge
  asm("" : "+r"(step)); // one compare of `step`: GCC would copy and compare `size - 1`
  return step < heap::bin_offset_table.size() ? pop(heap::bin_offset_table[step]) : nullptr;
}

inline void* allocate(std::size_t size) {
  void* const block = allocate_cached(size);
  return block != nullptr ? block : allocate_uncached(size);
}

// `minus_base`, `slow`: for a function that may not be ours to perform (override/new.cpp).
template <void (*slow)(void*) noexcept = deallocate_slow>
inline void deallocate(void* block,
                       const std::atomic<std::uintptr_t>& minus_base = page::primary.minus_base) {
  std::uintptr_t unit, mark;
  if (page::primary.find(block, unit, minus_base, mark)) [[likely]] {
    const heap::thread_access thread;
    const std::size_t bin =
        thread.differing_bits(page::primary.tags[unit].load(std::memory_order_relaxed));
    if (bin < heap::tag_class_end && thread.begins_block(bin, block) &&
        heap::second_word(block) != mark) [[likely]] {
      void** top = thread.top(bin);
      if (reinterpret_cast<std::uintptr_t>(top[1]) != heap::end_of_array) [[likely]] {
        heap::second_word(block) = mark;
        ++top;
        asm("" : "+r"(top)); // in its register: Clang would store by the old top and copy it first
        *top = block;
        thread.set_top(bin, top);
        return;
      }
    }
  }
  slow(block);
}

// calloc's work, for a size that did not overflow.
void* allocate_zeroed(std::size_t size);

// REQUIRES: `alignment` is a power of two.
void* allocate_aligned(std::size_t alignment, std::size_t size);

// realloc, but for size 0: a block of the smallest size, as for allocate().
void* reallocate(void* block, std::size_t size);

// 0 for nullptr; reports an address where no block lives.
std::size_t usable_size(const void* block);

// What allocate(size) would have as usable size; 0 if it could not succeed.
std::size_t good_size(std::size_t size);

} // namespace mete::front
