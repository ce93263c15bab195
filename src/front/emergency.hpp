// The emergency arena: memory for threads that may not pass the gate (front/gate.hpp) and must not
// wait: a fork takes too long, or a signal handler interrupted this thread inside.
//
// It is made of chunks, mapped when they are needed and never unmapped, each for blocks of one
// size, a power of two; what is larger than a MiB has a chunk for itself, of one of eight sizes for
// each doubling, which later blocks use again. A bit for each block says whether it is taken, in
// words beside the chunk. To take a block, to free it, and to take all of a stretch in order to
// purge it are one compare-and-exchange for each word: there is no lock, and nothing of mete's
// other structures is touched. So any thread can come here at any moment, and the child of a fork
// can go on from wherever it stood; what a thread that vanished was about to take, or to give back,
// is lost.
//
// Memory that no block uses is given back at once: blocks of 16 KiB and more one by one (if they
// are whole pages), smaller ones in stretches of 64 KiB or more, but for the first of each size.
//
// Complexity: O(chunks) to find a block's chunk, and O(chunks + words of one chunk) to take a
// block.
//
// Thread safety: all functions, also in signal handlers.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>

namespace mete::front {

// nullptr if memory is out, or if there are 4096 chunks. `alignment` is a power of two. What is in
// the block is unknown.
void* allocate_emergency(std::size_t size, std::size_t alignment);

// --- For blocks of the arena.

struct emergency_chunk;
inline constexpr unsigned max_emergency_chunks = 4096;
extern constinit std::atomic<emergency_chunk*> emergency_chunks[max_emergency_chunks];

bool is_in_emergency_chunk(const void* block);
inline bool is_emergency_block(const void* block) {
  // In nearly every process there is no chunk.
  return emergency_chunks[0].load(std::memory_order_acquire) != nullptr &&
         is_in_emergency_chunk(block);
}

// All REQUIRE is_emergency_block().

bool lives_in_emergency_chunk(const void* block);

// Both report an address where no block lives; `what` as for report_no_block() (heap/big.hpp).
std::size_t emergency_bytes(const char* what, const void* block);
void release_emergency(void* block);

} // namespace mete::front
