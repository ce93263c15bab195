// SPDX-License-Identifier: MIT
#include "front/emergency.hpp"

#include "base/bits.hpp"
#include "base/units.hpp"
#include "heap/big.hpp"
#include "os/memory.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <new>

namespace mete::front {

constinit std::atomic<emergency_chunk*> emergency_chunks[max_emergency_chunks] = {};

// Behind it lie the words: a bit is 1 if the block is taken, or if there is none.
struct emergency_chunk {
  char* begin;
  std::size_t block_bytes;
  std::size_t blocks;
  bool first_of_size;
  // Hints: how many blocks are free, or more, and the first word to look at.
  std::atomic<std::size_t> free;
  std::atomic<std::size_t> first_word;

  std::size_t bytes() const { return blocks * block_bytes; }
  std::size_t words() const { return divide_up(blocks, 64); }
  std::atomic<std::uint64_t>& word(std::size_t index) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(this + 1)[index];
  }
};
static_assert(sizeof(emergency_chunk) % sizeof(std::atomic<std::uint64_t>) == 0);

namespace {

constexpr std::size_t min_block_bytes = 32;
constexpr std::size_t max_shared_bytes = 1 * MiB; // larger blocks have a chunk for themselves
constexpr std::size_t own_pages_bytes = 16 * KiB; // from here on a block is purged by itself
constexpr std::size_t stretch_bytes = 64 * KiB;   // for smaller ones: so much, or a word's blocks
constexpr std::size_t max_chunk_bytes = 64 * MiB; // of shared ones
constexpr unsigned growth_shift = 2;              // each further chunk of a size is so much larger
constexpr std::uint64_t all_taken = ~std::uint64_t{0};

bool is_shared(std::size_t block_bytes) {
  return block_bytes <= max_shared_bytes;
}

// How many words are purged together.
std::size_t words_in_stretch(const emergency_chunk& chunk) {
  const std::size_t words = stretch_bytes / (64 * chunk.block_bytes);
  return words == 0 ? 1 : words;
}

std::size_t first_chunk_blocks(std::size_t block_bytes) {
  if (!is_shared(block_bytes))
    return 1;
  if (block_bytes >= own_pages_bytes)
    return 4;
  return block_bytes >= stretch_bytes / 64 ? 64 : stretch_bytes / block_bytes;
}

// `earlier`: so many chunks of this size there are already.
std::size_t chunk_blocks(std::size_t block_bytes, unsigned earlier) {
  std::size_t blocks = first_chunk_blocks(block_bytes);
  if (is_shared(block_bytes))
    for (; earlier != 0 && (blocks << growth_shift) * block_bytes <= max_chunk_bytes; --earlier)
      blocks <<= growth_shift;
  return blocks;
}

bool holds(const emergency_chunk& chunk, const void* block) {
  return reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(chunk.begin) <
         chunk.bytes();
}

emergency_chunk* chunk_of(const void* block) {
  for (const auto& place : emergency_chunks) {
    emergency_chunk* const chunk = place.load(std::memory_order_acquire);
    if (chunk == nullptr)
      break;
    if (holds(*chunk, block))
      return chunk;
  }
  return nullptr;
}

// The bit of an address in its chunk.
struct bit_place {
  std::size_t word;
  std::uint64_t mask; // 0: no block begins there
};

bit_place bit_of(const emergency_chunk& chunk, const void* block) {
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(block) - chunk.begin);
  const std::size_t index = offset / chunk.block_bytes;
  return {index / 64, offset % chunk.block_bytes == 0 ? std::uint64_t{1} << (index % 64) : 0};
}

// nullptr if no block lives there. REQUIRES: the address is in a chunk.
emergency_chunk* chunk_of_live(const void* block) {
  emergency_chunk* const chunk = chunk_of(block);
  const bit_place at = bit_of(*chunk, block);
  return (chunk->word(at.word).load(std::memory_order_relaxed) & at.mask) != 0 ? chunk : nullptr;
}

// --- Chunks.

std::size_t descriptor_bytes(std::size_t words) {
  return align_up(sizeof(emergency_chunk) + words * sizeof(std::uint64_t), os::page_bytes);
}

// Not yet known to others; nullptr if the OS refuses.
emergency_chunk* map_chunk(std::size_t block_bytes, std::size_t alignment, std::size_t blocks,
                           bool first_of_size) {
  const std::size_t words = divide_up(blocks, 64);
  // Apart from the blocks, and guarded: programs write beyond their blocks.
  char* const memory = os::map_guarded(descriptor_bytes(words));
  if (memory == nullptr)
    return nullptr;
  char* const begin = os::map(blocks * block_bytes, alignment);
  if (begin == nullptr) {
    os::release_guarded(memory, descriptor_bytes(words));
    return nullptr;
  }
  auto* const chunk =
      new (memory) emergency_chunk{begin, block_bytes, blocks, first_of_size, {blocks}, {0}};
  if (blocks % 64 != 0)
    chunk->word(words - 1).store(~low_bits(blocks % 64), std::memory_order_relaxed);
  return chunk;
}

void unmap_chunk(emergency_chunk& chunk) {
  (void)os::release(chunk.begin, chunk.bytes());
  os::release_guarded(reinterpret_cast<char*>(&chunk), descriptor_bytes(chunk.words()));
}

// At `place`, behind all others. False if the OS refuses; true if there is one now, whosever.
bool add_chunk(std::atomic<emergency_chunk*>& place, std::size_t block_bytes, std::size_t alignment,
               unsigned earlier) {
  std::size_t blocks = chunk_blocks(block_bytes, earlier);
  emergency_chunk* made = nullptr;
  // Under a limit it becomes a smaller one.
  for (;; blocks >>= growth_shift) {
    made = map_chunk(block_bytes, alignment, blocks, earlier == 0);
    if (made != nullptr || blocks <= first_chunk_blocks(block_bytes))
      break;
  }
  if (made == nullptr)
    return false;
  emergency_chunk* expected = nullptr;
  // release: pairs with the acquire of those who find it.
  if (!place.compare_exchange_strong(expected, made, std::memory_order_acq_rel))
    unmap_chunk(*made);
  return true;
}

// --- Blocks.

// Any free block of the word; false if there is none.
bool take_of_word(std::atomic<std::uint64_t>& word, std::uint64_t& mask) {
  std::uint64_t taken = word.load(std::memory_order_relaxed);
  while (taken != all_taken) {
    mask = ~taken & (taken + 1); // the lowest bit that is 0
    // acquire: pairs with release_emergency(); who had the block before is done with it.
    if (word.compare_exchange_weak(taken, taken | mask, std::memory_order_acquire,
                                   std::memory_order_relaxed))
      return true;
  }
  return false;
}

// The first free block, or nearly: so what lies behind can be given back.
char* take_block(emergency_chunk& chunk) {
  if (chunk.free.load(std::memory_order_relaxed) == 0)
    return nullptr;
  const std::size_t words = chunk.words();
  std::size_t first = chunk.first_word.load(std::memory_order_relaxed);
  for (std::size_t count = 0; count < words; ++count) {
    const std::size_t index = first + count < words ? first + count : first + count - words;
    std::uint64_t mask = 0;
    if (!take_of_word(chunk.word(index), mask))
      continue;
    chunk.free.fetch_sub(1, std::memory_order_relaxed);
    if (count != 0)
      chunk.first_word.compare_exchange_strong(first, index, std::memory_order_relaxed);
    return chunk.begin + (index * 64 + log2_floor(mask)) * chunk.block_bytes;
  }
  return nullptr;
}

// Takes all of a stretch. False, and nothing is taken, if something lives in it.
bool take_stretch(emergency_chunk& chunk, std::size_t begin, std::size_t end) {
  for (std::size_t index = begin; index < end; ++index) {
    std::uint64_t none = 0;
    if (chunk.word(index).compare_exchange_strong(none, all_taken, std::memory_order_seq_cst))
      continue;
    while (index != begin)
      chunk.word(--index).store(0, std::memory_order_seq_cst);
    return false;
  }
  return true;
}

// Gives back the memory of a stretch in which nothing lives, and has it meanwhile. What comes in
// between goes again, and then looks itself, unless it went before this let go of the words that it
// had: so this looks again. seq_cst here and in release_emergency(): one of the two sees the other.
void purge_stretch(emergency_chunk& chunk, std::size_t word) {
  const std::size_t words = words_in_stretch(chunk);
  const std::size_t begin = word / words * words;
  if (begin == 0 && chunk.first_of_size)
    return; // what is used and freed again and again shall not be purged each time
  const auto nothing_lives = [&] {
    for (std::size_t index = begin; index < begin + words; ++index)
      if (chunk.word(index).load(std::memory_order_seq_cst) != 0)
        return false;
    return true;
  };
  while (nothing_lives()) {
    if (!take_stretch(chunk, begin, begin + words))
      continue;
    (void)os::purge(chunk.begin + begin * 64 * chunk.block_bytes, words * 64 * chunk.block_bytes);
    for (std::size_t index = begin; index < begin + words; ++index)
      chunk.word(index).store(0, std::memory_order_release);
    return;
  }
}

// Whether the chunk's blocks are large enough, and `fitting`: not much larger. (Else: not so large
// that clearing one would take long.)
bool serves(const emergency_chunk& chunk, std::size_t bytes, std::size_t alignment, bool fitting) {
  if (chunk.block_bytes < bytes || reinterpret_cast<std::uintptr_t>(chunk.begin) % alignment != 0)
    return false;
  if (!fitting)
    return chunk.block_bytes <= std::max(16 * bytes, max_shared_bytes);
  return is_shared(bytes) ? chunk.block_bytes == bytes : chunk.block_bytes / 2 <= bytes;
}

} // namespace

void* allocate_emergency(std::size_t size, std::size_t alignment) {
  constexpr std::size_t max = PTRDIFF_MAX / 2;
  if (size > max || alignment > max)
    return nullptr;
  os::initialise_memory();
  std::size_t bytes = std::bit_ceil(std::max({size, alignment, min_block_bytes}));
  if (is_shared(bytes))
    alignment = bytes; // so it is for all blocks of the chunk
  else
    // Eight sizes for each doubling, so that blocks that grow step by step meet in few chunks.
    bytes = align_up(std::max(size, max_shared_bytes + 1),
                     std::bit_floor(std::max(size, max_shared_bytes)) / 8);
  alignment = std::max(alignment, os::page_bytes);
  unsigned earlier = 0;
  for (auto& place : emergency_chunks) {
    if (place.load(std::memory_order_acquire) == nullptr &&
        !add_chunk(place, bytes, alignment, earlier))
      break;
    emergency_chunk& chunk = *place.load(std::memory_order_acquire);
    if (!serves(chunk, bytes, alignment, true))
      continue;
    if (char* const block = take_block(chunk); block != nullptr)
      return block;
    ++earlier;
  }
  // There is no memory for another chunk, or no place: any larger block will do.
  for (auto& place : emergency_chunks) {
    emergency_chunk* const chunk = place.load(std::memory_order_acquire);
    if (chunk == nullptr)
      break;
    if (serves(*chunk, bytes, alignment, false))
      if (char* const block = take_block(*chunk); block != nullptr)
        return block;
  }
  return nullptr;
}

bool is_in_emergency_chunk(const void* block) {
  return chunk_of(block) != nullptr;
}

bool lives_in_emergency_chunk(const void* block) {
  return chunk_of_live(block) != nullptr;
}

std::size_t emergency_bytes(const char* what, const void* block) {
  const emergency_chunk* const chunk = chunk_of_live(block);
  if (chunk == nullptr)
    heap::report_no_block(what, block);
  return chunk->block_bytes;
}

void release_emergency(void* block) {
  emergency_chunk* const found = chunk_of_live(block);
  if (found == nullptr)
    heap::report_no_block("invalid free", block);
  emergency_chunk& chunk = *found;
  const bit_place at = bit_of(chunk, block);
  const bool has_own_pages =
      chunk.block_bytes >= own_pages_bytes && chunk.block_bytes % os::page_bytes == 0;
  if (has_own_pages)
    (void)os::purge(static_cast<char*>(block), chunk.block_bytes);
  // First, so that a thread that vanishes here in the child of a fork leaves a hint too high.
  chunk.free.fetch_add(1, std::memory_order_relaxed);
  // release: pairs with take_of_word().
  const std::uint64_t taken = chunk.word(at.word).fetch_and(~at.mask, std::memory_order_seq_cst);
  if ((taken & at.mask) == 0) [[unlikely]]
    heap::report_no_block("invalid free", block); // another thread has freed it meanwhile
  std::size_t first = chunk.first_word.load(std::memory_order_relaxed);
  while (at.word < first &&
         !chunk.first_word.compare_exchange_weak(first, at.word, std::memory_order_relaxed)) {
  }
  if (taken == at.mask && !has_own_pages)
    purge_stretch(chunk, at.word);
}

} // namespace mete::front
