// Work that is put off: what cannot be done without passing the gate (front/gate.hpp), like freeing
// an ordinary block, becomes a record in the emergency arena, and is done when somebody is outside
// and the gate is open.
//
// Thread safety: all functions, also in signal handlers.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>

namespace mete::front {

using deferred_function = void (*)(void* argument);

// `run(argument)` will be called later. Without memory for the record it never is.
void defer(deferred_function run, void* argument);
// As above, with a copy of an object of `size` bytes as the argument.
void defer_with_copy(deferred_function run, const void* object, std::size_t size);

struct deferred_record;
extern constinit std::atomic<deferred_record*> deferred_work, work_put_off_again;
inline bool deferred_work_waits() {
  return deferred_work.load(std::memory_order_acquire) != nullptr ||
         work_put_off_again.load(std::memory_order_acquire) != nullptr;
}
// In the child of a fork: nobody else is at it. `forget`: things are in disorder, so what was put
// off is forgotten.
void reset_deferred_work_in_child(bool forget);
// Runs what was put off. REQUIRES: the caller is outside of the gate and holds no lock.
void run_deferred_work();
// The same, and waits for other threads that are at it. False if that takes too long.
bool finish_deferred_work();

} // namespace mete::front
