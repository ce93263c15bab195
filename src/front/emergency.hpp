// The emergency arena: memory for threads that may not pass the gate (front/gate.hpp) and must not
// wait: a fork takes too long, or a signal handler interrupted this thread inside.
//
// It is made of chunks, mapped when they are needed and never unmapped. In a chunk blocks lie one
// behind the other, each behind a header; one atomic word says how many of them live and where the
// next one goes. When the last one is freed the chunk starts over. There is no lock, and nothing of
// mete's other structures is touched, so that any thread can come here at any moment, and the child
// of a fork can go on from wherever it stood.
//
// What cannot be done without passing the gate, like freeing an ordinary block, is put off: it
// becomes a record in the arena, and runs when somebody is outside and the gate is open.
//
// Thread safety: all functions, also in signal handlers.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mete::front {

// nullptr if memory is out. `alignment` is a power of two.
void* allocate_emergency(std::size_t size, std::size_t alignment);

// --- For blocks of the arena.

struct emergency_chunk;
inline constexpr unsigned max_emergency_chunks = 32;
extern constinit std::atomic<emergency_chunk*> emergency_chunks[max_emergency_chunks];

bool is_in_emergency_chunk(const void* block);
inline bool is_emergency_block(const void* block) {
  // In nearly every process there is no chunk.
  return emergency_chunks[0].load(std::memory_order_acquire) != nullptr &&
         is_in_emergency_chunk(block);
}

// REQUIRES: is_emergency_block().
bool lives_in_emergency_chunk(const void* block);

// Both report an address where no block lives; `what` as for report_no_block() (heap/big.hpp).
std::size_t emergency_bytes(const char* what, const void* block);
void release_emergency(void* block);

// --- Work that is put off.

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
