// SPDX-License-Identifier: MIT
#include "front/deferred_work.hpp"

#include "front/emergency.hpp"
#include "heap/thread_cache.hpp"
#include "os/thread.hpp"

#include <cstring>
#include <new>

namespace mete::front {

constinit std::atomic<deferred_record*> deferred_work{nullptr}, work_put_off_again{nullptr};

struct deferred_record {
  deferred_record* next;
  deferred_function run;
  void* argument;
};

namespace {

// The thread that has taken what waited, and does it; its state in heap/thread_cache.hpp.
constinit std::atomic<const void*> worker{nullptr};
constinit std::atomic<std::uint32_t> times_taken{0};

// What that thread puts off once more comes before what others have put off meanwhile.
void push(deferred_record* work) {
  const bool again = worker.load(std::memory_order_relaxed) == &heap::this_thread;
  std::atomic<deferred_record*>& list = again ? work_put_off_again : deferred_work;
  work->next = list.load(std::memory_order_relaxed);
  while (!list.compare_exchange_weak(work->next, work, std::memory_order_release,
                                     std::memory_order_relaxed)) {
  }
}

// The records in the order in which they came, and then `behind`.
deferred_record* oldest_first(deferred_record* newest_first, deferred_record* behind) {
  deferred_record* result = behind;
  while (newest_first != nullptr) {
    deferred_record* const next = newest_first->next;
    newest_first->next = result;
    result = newest_first;
    newest_first = next;
  }
  return result;
}

} // namespace

void defer(deferred_function run, void* argument) {
  void* const memory = allocate_emergency(sizeof(deferred_record), 1);
  if (memory != nullptr)
    push(new (memory) deferred_record{nullptr, run, argument});
}

void defer_with_copy(deferred_function run, const void* object, std::size_t size) {
  auto* const memory = static_cast<char*>(allocate_emergency(sizeof(deferred_record) + size, 1));
  if (memory == nullptr)
    return;
  char* const copy = memory + sizeof(deferred_record);
  std::memcpy(copy, object, size);
  push(new (memory) deferred_record{nullptr, run, copy});
}

void reset_deferred_work_in_child(bool forget) {
  worker.store(nullptr, std::memory_order_relaxed);
  if (forget) {
    deferred_work.store(nullptr, std::memory_order_relaxed);
    work_put_off_again.store(nullptr, std::memory_order_relaxed);
  }
}

// One thread at a time, and what was put off first is done first: so a heap is destroyed after the
// frees of its blocks. Work that comes here again, by freeing, finds somebody at it.
void run_deferred_work() {
  const void* nobody = nullptr;
  if (!deferred_work_waits() ||
      !worker.compare_exchange_strong(nobody, &heap::this_thread, std::memory_order_acquire))
    return;
  // acquire: pairs with push(). release: who sees that they were taken sees the number, too.
  times_taken.fetch_add(1, std::memory_order_relaxed);
  deferred_record* const new_ones = deferred_work.exchange(nullptr, std::memory_order_acq_rel);
  deferred_record* const old_ones = work_put_off_again.exchange(nullptr, std::memory_order_acq_rel);
  deferred_record* work = oldest_first(old_ones, oldest_first(new_ones, nullptr));
  while (work != nullptr) {
    deferred_record* const done = work;
    work = work->next;
    done->run(done->argument);
    release_emergency(done);
  }
  worker.store(nullptr, std::memory_order_release);
}

bool finish_deferred_work() {
  constexpr unsigned patience_ms = 100;
  for (unsigned waited_ms = 0;; ++waited_ms) {
    run_deferred_work();
    // Nobody was at it, nothing waited, and nothing was taken meanwhile.
    const std::uint32_t taken_before = times_taken.load(std::memory_order_acquire);
    if (worker.load(std::memory_order_acquire) == nullptr && !deferred_work_waits() &&
        times_taken.load(std::memory_order_relaxed) == taken_before)
      return true;
    if (waited_ms == patience_ms)
      return false;
    os::rest_for(1);
  }
}

} // namespace mete::front
