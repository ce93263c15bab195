// A thread's life with its heap: the first allocation attaches one, the thread's end gives it up.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"

namespace mete::front {

// The calling thread's heap, attached if need be; nullptr if it uses its processor's
// (front/on_cpu.hpp), or cannot have one (it is about to end, or memory is out): then serve it with
// a shared_heap_guard.
heap::heap* attach_or_none();

inline heap::heap* own_heap() {
  if (heap::this_thread.phase == heap::thread_phase::attached) [[likely]]
    return heap::this_thread.owned;
  return attach_or_none();
}

// What threads without a heap use, one at a time. REQUIRES: the caller is inside of the gate.
class [[nodiscard]] shared_heap_guard {
public:
  shared_heap_guard();
  ~shared_heap_guard();
  shared_heap_guard(const shared_heap_guard&) = delete;
  shared_heap_guard& operator=(const shared_heap_guard&) = delete;

  // nullptr if memory is out.
  heap::heap* get() const { return heap_; }

private:
  heap::heap* heap_;
};

// How many threads of the program have allocated, and have not ended.
unsigned threads_that_allocate();

// Makes the calling thread one without a heap, for good: mete's own.
void renounce_heap();

// Registered with os::register_thread_exit().
void thread_exit();

// In the child of a fork: the calling thread is the only one.
void forget_other_threads();

} // namespace mete::front
