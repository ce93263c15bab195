// SPDX-License-Identifier: MIT
#include "front/emergency.hpp"

#include "base/bits.hpp"
#include "base/units.hpp"
#include "heap/big.hpp"
#include "heap/thread_cache.hpp"
#include "os/memory.hpp"
#include "os/thread.hpp"

#include <cstring>
#include <new>

namespace mete::front {

constinit std::atomic<emergency_chunk*> emergency_chunks[max_emergency_chunks] = {};
constinit std::atomic<deferred_record*> deferred_work{nullptr}, work_put_off_again{nullptr};

struct deferred_record {
  deferred_record* next;
  deferred_function run;
  void* argument;
};

// At the beginning of each chunk. `state`: the number of blocks that live, and behind it the offset
// of the next one in granules.
struct emergency_chunk {
  std::size_t granules;
  std::atomic<std::uint64_t> state;
};

namespace {

constexpr std::size_t granule = 16;
constexpr std::size_t first_chunk_bytes = 4 * MiB; // each further one is twice as large, up to
constexpr unsigned largest_doubling = 6;
constexpr unsigned live_shift = 32;
constexpr std::uint64_t one_live = std::uint64_t{1} << live_shift;
constexpr std::uint64_t offset_mask = one_live - 1;
constexpr std::uint64_t begin_offset = divide_up(sizeof(emergency_chunk), granule);
constexpr std::size_t worth_purging_bytes = 256 * KiB;
constexpr std::size_t max_block_bytes = 16 * GiB; // half of what an offset can say

// Before each block. `mark` says that a block begins here, and whether it lives.
struct header {
  std::size_t usable;
  std::atomic<std::uint64_t> mark;
};
static_assert(sizeof(header) == granule && sizeof(emergency_chunk) % granule == 0);
constexpr std::uint64_t live_mark = 0x6d65'7465'6c69'7665, freed_mark = 0x6d65'7465'6672'6565;

std::uint64_t mark_of(const void* block, std::uint64_t mark) {
  return mark ^ reinterpret_cast<std::uintptr_t>(block);
}

header& header_of(const void* block) {
  return *(reinterpret_cast<header*>(const_cast<void*>(block)) - 1);
}

std::size_t bytes_of(const emergency_chunk& chunk) {
  return chunk.granules * granule;
}

bool holds(const emergency_chunk& chunk, const void* block) {
  return reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(&chunk) <
         bytes_of(chunk);
}

emergency_chunk* chunk_of(const void* block) {
  for (const auto& slot : emergency_chunks) {
    emergency_chunk* const chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr)
      break;
    if (holds(*chunk, block))
      return chunk;
  }
  return nullptr;
}

// Whoever loses the race uses the winner's.
emergency_chunk* make_chunk(unsigned index, std::size_t needed) {
  std::size_t bytes = first_chunk_bytes << (index < largest_doubling ? index : largest_doubling);
  needed = align_up(needed + begin_offset * granule, os::page_bytes);
  bytes = bytes < needed ? needed : bytes;
  char* memory = os::map(bytes, os::page_bytes);
  // Under a limit a smaller one, but none so small that the few there can be are soon full.
  const std::size_t least = needed < first_chunk_bytes ? first_chunk_bytes : needed;
  if (memory == nullptr && least < bytes)
    memory = os::map(bytes = least, os::page_bytes);
  if (memory == nullptr)
    return nullptr;
  auto* const chunk = new (memory) emergency_chunk{bytes / granule, {begin_offset}};
  emergency_chunk* expected = nullptr;
  // release: pairs with the acquire of those who find it.
  if (emergency_chunks[index].compare_exchange_strong(expected, chunk, std::memory_order_acq_rel))
    return chunk;
  os::release(memory, bytes);
  return expected;
}

char* take(emergency_chunk& chunk, std::size_t bytes) {
  std::uint64_t state = chunk.state.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint64_t offset = state & offset_mask;
    if (offset + bytes / granule > chunk.granules)
      return nullptr;
    // acquire: the blocks that were here before are done with.
    if (chunk.state.compare_exchange_weak(state, state + one_live + bytes / granule,
                                          std::memory_order_acquire, std::memory_order_relaxed))
      return reinterpret_cast<char*>(&chunk) + offset * granule;
  }
}

// The last block of the chunk has been freed, as far as `state` says: nothing lives but what is
// added now. The chunk is taken whole, so that nobody comes in between while it is purged.
bool start_over(emergency_chunk& chunk, std::uint64_t state) {
  const std::uint64_t whole = one_live | chunk.granules;
  if (!chunk.state.compare_exchange_strong(state, whole, std::memory_order_acq_rel))
    return false;
  if (const std::size_t used = (state & offset_mask) * granule; used > worth_purging_bytes) {
    char* const rest = align_up(reinterpret_cast<char*>(&chunk + 1), os::page_bytes);
    const auto before = static_cast<std::size_t>(rest - reinterpret_cast<char*>(&chunk));
    (void)os::purge(rest, bytes_of(chunk) - before);
  }
  chunk.state.store(begin_offset, std::memory_order_release);
  return true;
}

// REQUIRES: a live block of the chunk has just been marked as freed.
void drop_block(emergency_chunk& chunk) {
  std::uint64_t state = chunk.state.load(std::memory_order_relaxed);
  for (;;) {
    if (state >> live_shift == 1) {
      if (start_over(chunk, state))
        return;
      state = chunk.state.load(std::memory_order_relaxed);
    } else if (chunk.state.compare_exchange_weak(state, state - one_live, std::memory_order_release,
                                                 std::memory_order_relaxed)) {
      return;
    }
  }
}

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

void* allocate_emergency(std::size_t size, std::size_t alignment) {
  if (size > max_block_bytes || alignment > max_block_bytes)
    return nullptr;
  os::initialise_memory();
  const std::size_t padding = alignment > granule ? alignment : 0;
  const std::size_t bytes = align_up(size == 0 ? 1 : size, granule) + sizeof(header) + padding;
  for (unsigned index = 0; index < max_emergency_chunks; ++index) {
    emergency_chunk* chunk = emergency_chunks[index].load(std::memory_order_acquire);
    if (chunk == nullptr && (chunk = make_chunk(index, bytes)) == nullptr)
      return nullptr;
    char* const begin = take(*chunk, bytes);
    if (begin == nullptr)
      continue;
    char* const block = align_up(begin + sizeof(header), padding == 0 ? granule : alignment);
    header& h = header_of(block);
    h.usable = static_cast<std::size_t>(begin + bytes - block);
    h.mark.store(mark_of(block, live_mark), std::memory_order_relaxed);
    return block;
  }
  return nullptr;
}

bool is_in_emergency_chunk(const void* block) {
  return chunk_of(block) != nullptr;
}

bool lives_in_emergency_chunk(const void* block) {
  return reinterpret_cast<std::uintptr_t>(block) % granule == 0 &&
         header_of(block).mark.load(std::memory_order_relaxed) == mark_of(block, live_mark);
}

std::size_t emergency_bytes(const char* what, const void* block) {
  if (!lives_in_emergency_chunk(block))
    heap::report_no_block(what, block);
  return header_of(block).usable;
}

void release_emergency(void* block) {
  std::uint64_t expected = mark_of(block, live_mark);
  if (reinterpret_cast<std::uintptr_t>(block) % granule != 0 ||
      !header_of(block).mark.compare_exchange_strong(expected, mark_of(block, freed_mark),
                                                     std::memory_order_relaxed))
    heap::report_no_block("invalid free", block);
  drop_block(*chunk_of(block));
}

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
