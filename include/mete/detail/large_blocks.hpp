// Blocks that come from a source one by one, because they are too large for the allocator's own
// memory, or that has no more.
//
// A header lies right before each block; a hash table knows all headers (address_index.hpp), so an
// address may be anybody's. A block is in a list of its owner's choice, in the order of allocation,
// so that many of them can be ended together. All O(1) on average, but for the source. Not
// thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_LARGE_BLOCKS_HPP
#define METE_DETAIL_LARGE_BLOCKS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include <mete/allocator.hpp>
#include <mete/detail/address_index.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/slabs.hpp>
#include <mete/source.hpp>

namespace mete::detail {

class large_blocks {
public:
  // Lies right before its block.
  struct header : slab_link {
    header* next_in_chain; // address_index
    std::span<std::byte> memory;
    std::size_t alignment; // of the memory
    std::size_t size;
    std::uint64_t number; // blocks that were allocated later have a higher one
  };
  using list = slab_link;

  explicit large_blocks(source& upstream) noexcept : upstream_(upstream) {}
  large_blocks(const large_blocks&) = delete;
  large_blocks& operator=(const large_blocks&) = delete;
  // REQUIRES: all lists have been released.
  ~large_blocks() { index_.clear(upstream_); }

  // nullptr if the source has no more, or `alignment` is no power of two.
  void* allocate(std::size_t size, std::size_t alignment, list& into) noexcept {
    if (!is_power_of_two(alignment))
      return nullptr;
    largest_request_bytes_ = std::max(largest_request_bytes_, size);
    size += size == 0;
    const std::size_t of_memory = std::max(alignment, alignof(header));
    std::size_t offset = 0;
    std::size_t needed = 0;
    if (!round_up(sizeof(header), of_memory, offset) || !add(offset, size, needed))
      return nullptr;
    const std::span<std::byte> memory = upstream_.acquire(needed, of_memory);
    if (memory.empty())
      return nullptr;
    std::byte* const block = memory.data() + offset;
    auto* const added =
        new (block - sizeof(header)) header{{}, nullptr, memory, of_memory, size, next_number_++};
    into.push_back(*added);
    index_.insert(*added, upstream_);
    reserved_bytes_ += memory.size();
    used_bytes_ += size;
    peak_bytes_ = std::max(peak_bytes_, used_bytes_);
    return block;
  }

  // Whether a block begins there: its header, or nullptr.
  const header* find(const void* block) const noexcept {
    return index_.find(address_of(block) - sizeof(header));
  }
  // The same, for release().
  header* find(const void* block) noexcept {
    return const_cast<header*>(static_cast<const large_blocks*>(this)->find(block));
  }

  void release(header& gone) noexcept {
    index_.erase(gone);
    gone.unlink();
    used_bytes_ -= gone.size;
    reserved_bytes_ -= gone.memory.size();
    const std::span<std::byte> memory = gone.memory;
    upstream_.release(memory, gone.alignment);
  }

  // All of a list whose number is not below `number`. O(such blocks).
  void release_from(list& of, std::uint64_t number = 0) noexcept {
    while (!of.alone() && static_cast<header*>(of.previous)->number >= number)
      release(static_cast<header&>(*of.previous));
  }
  std::uint64_t next_number() const noexcept { return next_number_; }

  // The table of the headers goes back, if it is empty.
  void trim() noexcept {
    if (reserved_bytes_ == 0)
      index_.clear(upstream_);
  }

  allocator_usage usage() const noexcept {
    return {used_bytes_, reserved_bytes_, peak_bytes_, largest_request_bytes_};
  }

  // What is wrong with the blocks of these lists, which must be all; or nullptr. O(blocks).
  template <class... Lists>
  const char* check_invariants(const Lists&... lists) const noexcept {
    std::size_t used = 0;
    std::size_t reserved = 0;
    bool known = true;
    const auto look_at = [&](const list& of) {
      for (const slab_link* link = of.next; link != &of; link = link->next) {
        const auto& each = *static_cast<const header*>(link);
        known = known && index_.find(address_of(&each)) == &each;
        used += each.size;
        reserved += each.memory.size();
      }
    };
    (look_at(lists), ...);
    if (!known)
      return "a large block is not known";
    return used == used_bytes_ && reserved == reserved_bytes_ ? nullptr
                                                              : "large blocks are miscounted";
  }

private:
  // Invariants: what is in index_ is in a list, and the reverse; used_bytes_ and reserved_bytes_
  // are the sums.
  source& upstream_;
  address_index<header> index_;
  std::uint64_t next_number_ = 1;
  std::size_t used_bytes_ = 0;
  std::size_t reserved_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
  std::size_t largest_request_bytes_ = 0;
};

} // namespace mete::detail

#endif
