// Blocks in a ring: for what is freed about in the order in which it was allocated, such as log
// records.
//
// Basic design. A block is a reservation of the ring (ring.hpp) that nobody ever commits: it lies
// in front of the block, with a seal, and is taken back when the block is freed. The ring's
// consumer reads nothing and passes over what was taken back. So a block's memory is free for
// others when all blocks before it have been freed too.
//
//   | reservation | seal | block ... |        begins at a multiple of the alignment
//
// O(1), but for what the consumer passes over, once for each block. Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_RING_BLOCKS_HPP
#define METE_DETAIL_RING_BLOCKS_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/error.hpp>
#include <mete/ring.hpp>
#include <mete/source.hpp>

namespace mete::detail {

class ring_blocks {
public:
  // What a buffer must have for so much room. The ring takes a power of two and 4 bytes for each
  // 16; a line of the cache is for alignment.
  static constexpr std::size_t buffer_bytes(std::size_t wanted) noexcept {
    const std::size_t bytes = std::min(wanted, std::size_t{1} << 29);
    return bytes == 0 ? 0 : std::bit_ceil(bytes) / 4 * 5 + 64;
  }

  // All memory is that of the buffer.
  ring_blocks(const char* name, std::span<std::byte> buffer) noexcept
      : name_(name), buffer_(buffer),
        ring_({.name = name, .upstream = &nothing_, .buffer = buffer, .capacity_bytes = 0}) {}

  // nullptr if there is no room, or `alignment` is no power of two.
  void* try_allocate(std::size_t size, std::size_t alignment) noexcept;

  // REQUIRES: the size of the allocation. Misuse is reported: what is free already, is no block, or
  // has another size.
  void deallocate(void* block, std::size_t size) noexcept;

  // used_bytes is what the ring holds back; the peak is not known.
  allocator_usage usage() const noexcept {
    return {ring_.used_bytes(), ring_.reserved_bytes(), ring_.used_bytes(), 0};
  }

private:
  using ring_type = ring<producers::many>;

  // Lies right in front of its block.
  struct header {
    ring_type::reservation held;
    std::uintptr_t seal; // address of the block ^ size; 0: free
  };

  [[noreturn, gnu::cold, gnu::noinline]] void report(const void* block) const noexcept {
    misused({name_, "invalid free", block, "no log record of this size lives there"});
  }

  const char* const name_;
  const std::span<std::byte> buffer_;
  buffer_source nothing_{{}}; // the ring must not take more
  ring_type ring_;
};

inline void* ring_blocks::try_allocate(std::size_t size, std::size_t alignment) noexcept {
  if (!is_power_of_two(alignment))
    return nullptr;
  size += size == 0;
  alignment = std::max(alignment, alignof(header));
  // The ring's records are aligned to 8 at least, so padding takes no more than the rest.
  std::size_t needed = 0;
  if (!add(sizeof(header) + alignment - alignof(header), size, needed))
    return nullptr;
  ring_type::reservation held = ring_.try_reserve(needed);
  if (!held)
    return nullptr;
  std::byte* const begin = held.bytes().data();
  const std::size_t padding = (0 - address_of(begin + sizeof(header))) & (alignment - 1);
  std::byte* const block = begin + padding + sizeof(header);
  new (block - sizeof(header)) header{std::move(held), address_of(block) ^ size};
  if (annotating()) [[unlikely]] {
    unusable(begin, needed);
    usable(block, size);
  }
  return block;
}

inline void ring_blocks::deallocate(void* block, std::size_t size) noexcept {
  size += size == 0;
  auto* const at = static_cast<std::byte*>(block) - sizeof(header);
  if (address_of(at) < address_of(buffer_.data()) || !is_aligned(address_of(at), alignof(header)))
    report(block);
  {
    const unreported quiet;
    if (load_own<std::uintptr_t>(at + offsetof(header, seal)) != (address_of(block) ^ size))
      report(block);
  }
  own(at, sizeof(header));
  auto& freed = *std::launder(reinterpret_cast<header*>(at));
  ring_type::reservation ended = std::move(freed.held);
  freed.seal = 0;
  ended.abort();
  ring_.consume([](std::span<std::byte>) {}); // nothing: it passes over what was taken back
}

} // namespace mete::detail

#endif
