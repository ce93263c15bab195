// pool and fixed_pool: many blocks of one size.
//
// Basic design of pool. Blocks come from a frontier that moves through a chunk, and once freed,
// from a list that runs through the free blocks themselves, the last freed first. The frontier is
// used only while the list is empty, so memory is not touched before it is needed, and nothing is
// done for blocks that are never asked for. Chunks double up to a limit. (Free lists of equal
// blocks: D. T. Ross, The AED Free Storage Package, 1967.) Memory goes back at trim() and at the
// end; slab_cache (slab_cache.hpp) gives it back by itself.
//
//   mete::pool packets({.name = "packets", .block_bytes = 256});
//   void* packet = packets.allocate(256);
//   ...
//   packets.deallocate(packet, 256);
//
// fixed_pool<Size, Align, Count> has its blocks inside itself, needs no source, and can be used in
// constant expressions and as a `constinit` variable.
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_POOL_HPP
#define METE_POOL_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/chunk_table.hpp>
#include <mete/source.hpp>

namespace mete {

struct pool_options {
  const char* name = "pool";
  source* upstream = nullptr;   // nullptr: default_source()
  std::size_t block_bytes = 64; // no request may be larger
  std::size_t alignment = default_alignment;
  std::size_t first_chunk_bytes = 4096;      // acquired at the first allocation, not before
  std::size_t max_chunk_bytes = 1024 * 1024; // growth stops doubling here
};

class pool : public allocator_base<pool> {
public:
  using options = pool_options;

  // Acquires nothing yet. Options that cannot be make a pool that has nothing to give.
  explicit pool(const options& with = {}) noexcept
      : allocator_base(with.name),
        upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        alignment_(std::max(with.alignment, alignof(link))),
        block_bytes_(rounded(with.block_bytes, with.alignment)),
        hot_sizes_end_(detail::annotating() ? 0 : block_bytes_ + 1),
        first_chunk_bytes_(std::max(with.first_chunk_bytes, block_bytes_)),
        max_chunk_bytes_(std::max(with.max_chunk_bytes, first_chunk_bytes_)),
        next_chunk_bytes_(first_chunk_bytes_) {}
  ~pool() {
    for (const detail::chunk_table::chunk& each : chunks_.all())
      upstream_.release(each.memory, alignment_);
    chunks_.clear(upstream_);
  }

  // O(1), but for the source when all blocks live. nullptr if that has no more, or size or
  // alignment are more than the pool's.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    link* const block = free_;
    if (size >= hot_sizes_end_ || alignment > alignment_ || !detail::is_power_of_two(alignment) ||
        block == nullptr) [[unlikely]]
      return allocate_slow(size, alignment);
    free_ = block->next;
    --free_blocks_;
    return block;
  }

  // O(1). What costs nothing to see is reported: an address outside all chunks, and the block that
  // was freed just before.
  void deallocate(void* block, std::size_t = 0, std::size_t = 0) noexcept {
    if (detail::address_of(block) - low_ >= hot_range_bytes_ || block == free_) [[unlikely]]
      return deallocate_slow(block);
    push(block);
  }

  // Gives the chunks back in which nothing lives. O(free blocks * log(chunks)).
  void trim() noexcept;

  // Whether the address is that of a block, free or not. O(log(chunks)).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    const detail::chunk_table::chunk* const in = chunks_.find(block);
    if (in == nullptr)
      return false;
    const std::size_t offset = detail::address_of(block) - detail::address_of(in->memory.data());
    return offset % block_bytes_ == 0 && offset / block_bytes_ < in->memory.size() / block_bytes_;
  }

  // How many blocks live. O(1).
  [[nodiscard]] std::size_t live_blocks() const noexcept { return taken_blocks() - free_blocks_; }

  // With what rounding adds.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }

  // O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {live_blocks() * block_bytes_, reserved_bytes_,
            std::max(peak_blocks_, taken_blocks()) * block_bytes_, 0};
  }

  // What is wrong inside, or nullptr. O(free blocks * log(chunks)).
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  struct link {
    link* next;
  };

  // 0: such blocks cannot be.
  static std::size_t rounded(std::size_t block_bytes, std::size_t alignment) noexcept {
    std::size_t bytes = 0;
    if (!detail::is_power_of_two(alignment) ||
        !detail::round_up(std::max(block_bytes, sizeof(link)), std::max(alignment, alignof(link)),
                          bytes))
      return 0;
    return bytes;
  }

  void push(void* block) noexcept {
    free_ = new (block) link{free_};
    ++free_blocks_;
  }

  // What has not been taken before, and all that somebody is told of.
  [[gnu::noinline]] void* allocate_slow(std::size_t size, std::size_t alignment) noexcept {
    if (size > block_bytes_ || alignment > alignment_ || !detail::is_power_of_two(alignment))
      return nullptr;
    void* const block = free_ != nullptr ? pop() : take_fresh();
    if (block != nullptr)
      detail::usable(block, size);
    return block;
  }
  void* pop() noexcept {
    link* const block = free_;
    free_ = next_of(block);
    --free_blocks_;
    return block;
  }

  // Misuse, and all that somebody is told of.
  [[gnu::noinline]] void deallocate_slow(void* block) noexcept {
    if (detail::address_of(block) - low_ >= range_bytes_)
      report_foreign(block);
    if (block == free_)
      report_double(block);
    tell_and_push(block);
  }
  void tell_and_push(void* block) noexcept {
    detail::own(block, sizeof(link));
    push(block);
    detail::unusable(block, block_bytes_);
  }
  static link* next_of(link* block) noexcept {
    detail::own(block, sizeof(link));
    link* const next = block->next;
    detail::unusable(block, sizeof(link));
    return next;
  }

  // Blocks that the frontier has passed.
  std::size_t taken_blocks() const noexcept { return taken_before_ + taken_here(); }
  std::size_t taken_here() const noexcept {
    return cursor_ == begin_ ? 0 : static_cast<std::size_t>(cursor_ - begin_) / block_bytes_;
  }
  std::size_t taken_in(const detail::chunk_table::chunk& of) const noexcept {
    return of.memory.data() == begin_ ? taken_here() : of.memory.size() / block_bytes_;
  }

  // Leaves in each chunk's free_blocks how many of its blocks are in the list.
  void count_free_blocks() noexcept {
    for (detail::chunk_table::chunk& each : chunks_.all())
      each.free_blocks = 0;
    for (link* each = free_; each != nullptr; each = next_of(each))
      ++chunks_.find(each)->free_blocks;
  }

  // REQUIRES: the list is empty.
  void* take_fresh() noexcept {
    if (cursor_ == end_ && !acquire_chunk()) [[unlikely]]
      return nullptr;
    std::byte* const block = cursor_;
    cursor_ += block_bytes_;
    return block;
  }

  // REQUIRES: the frontier has passed all chunks.
  [[gnu::noinline]] bool acquire_chunk() noexcept {
    if (block_bytes_ == 0 || !chunks_.reserve_one(upstream_))
      return false;
    std::span<std::byte> memory = upstream_.acquire(next_chunk_bytes_, alignment_);
    if (memory.empty() && next_chunk_bytes_ > block_bytes_)
      memory = upstream_.acquire(block_bytes_, alignment_); // less is better than nothing
    if (memory.empty())
      return false;
    next_chunk_bytes_ += std::min(next_chunk_bytes_, max_chunk_bytes_ - next_chunk_bytes_);
    taken_before_ += taken_here();
    begin_ = cursor_ = memory.data();
    end_ = begin_ + memory.size() / block_bytes_ * block_bytes_;
    detail::unusable(memory.data(), memory.size());
    chunks_.insert(memory);
    reserved_bytes_ += memory.size();
    note_range(memory);
    return true;
  }

  void note_range(std::span<std::byte> memory) noexcept {
    const std::uintptr_t begin = detail::address_of(memory.data());
    const std::uintptr_t end = std::max(low_ + range_bytes_, begin + memory.size());
    low_ = range_bytes_ == 0 ? begin : std::min(low_, begin);
    range_bytes_ = end - low_;
    hot_range_bytes_ = detail::annotating() ? 0 : range_bytes_;
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report_foreign(const void* block) const noexcept {
    report_misuse("foreign free", block, "it is not of this pool");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_double(const void* block) const noexcept {
    report_misuse("double free", block, "it was freed just before");
  }

  // Invariants: the frontier is cursor_, in the chunk from begin_ whose blocks end at end_; all
  // other chunks' blocks have been taken. The list has free_blocks_ blocks, all of them taken once.
  // What is free, behind the frontier or in the list, is declared unusable.
  link* free_ = nullptr;
  std::size_t free_blocks_ = 0;
  std::uintptr_t low_ = 0; // all chunks that there were lie in range_bytes_ from here
  std::size_t range_bytes_ = 0;
  std::size_t hot_range_bytes_ = 0; // the same, or 0: nothing is freed without being told of
  std::byte* cursor_ = nullptr;
  std::byte* end_ = nullptr;
  std::byte* begin_ = nullptr;
  source& upstream_;
  const std::size_t alignment_;
  const std::size_t block_bytes_;
  const std::size_t hot_sizes_end_; // 0: nothing is allocated without being told of
  const std::size_t first_chunk_bytes_;
  const std::size_t max_chunk_bytes_;
  std::size_t next_chunk_bytes_;
  std::size_t taken_before_ = 0; // in the other chunks
  std::size_t peak_blocks_ = 0;  // before the last trim()
  std::size_t reserved_bytes_ = 0;
  detail::chunk_table chunks_;
};

inline void pool::trim() noexcept {
  peak_blocks_ = std::max(peak_blocks_, taken_blocks());
  count_free_blocks();
  const auto nothing_lives_in = [this](const detail::chunk_table::chunk& each) {
    return each.free_blocks == taken_in(each);
  };
  link* each = std::exchange(free_, nullptr);
  free_blocks_ = 0;
  while (each != nullptr) {
    link* const next = next_of(each);
    if (!nothing_lives_in(*chunks_.find(each)))
      tell_and_push(each);
    each = next;
  }
  chunks_.erase_if([&](const detail::chunk_table::chunk& gone) {
    if (!nothing_lives_in(gone))
      return false;
    if (gone.memory.data() != begin_)
      taken_before_ -= taken_in(gone);
    else
      begin_ = cursor_ = end_ = nullptr;
    reserved_bytes_ -= gone.memory.size();
    upstream_.release(gone.memory, alignment_);
    return true;
  });
  if (chunks_.all().empty()) {
    chunks_.clear(upstream_);
    next_chunk_bytes_ = first_chunk_bytes_;
  }
}

inline const char* pool::check_invariants() const noexcept {
  std::size_t in_list = 0;
  for (link* each = free_; each != nullptr; each = next_of(each), ++in_list)
    if (!owns(each) || in_list == taken_blocks())
      return "the list of free blocks leads astray";
  if (in_list != free_blocks_)
    return "free blocks are miscounted";
  std::size_t taken = 0;
  std::size_t bytes = 0;
  const std::byte* end = nullptr;
  for (const detail::chunk_table::chunk& each : chunks_.all()) {
    if (each.memory.data() < end)
      return "chunks overlap";
    end = each.memory.data() + each.memory.size();
    taken += taken_in(each);
    bytes += each.memory.size();
  }
  if (taken != taken_blocks() || bytes != reserved_bytes_)
    return "chunks are miscounted";
  return nullptr;
}

// `Count` blocks of `Size` bytes, aligned to `Align`, inside the object. Which of them are free is
// said by numbers beside them, so misuse is always noticed, and a block's memory is not touched
// before the block is given. Made anew, it does not clear its memory.
template <std::size_t Size, std::size_t Align, std::size_t Count>
class fixed_pool : public allocator_base<fixed_pool<Size, Align, Count>> {
  static_assert(Size != 0 && Count != 0 && Count < UINT32_MAX - 1 &&
                detail::is_power_of_two(Align));
  using base = allocator_base<fixed_pool>;

public:
  // `name` must outlive the pool.
  constexpr explicit fixed_pool(const char* name = "fixed_pool") noexcept : base(name) {
    if (std::is_constant_evaluated()) { // where nothing may be left without a value
      blocks_ = {};
      next_ = {};
    } else {
      detail::unusable(blocks_.data(), sizeof(blocks_));
    }
  }
  constexpr ~fixed_pool() {
    if (!std::is_constant_evaluated())
      detail::usable(blocks_.data(), sizeof(blocks_));
  }

  // O(1). nullptr if all blocks live, or size or alignment are more than the pool's.
  [[nodiscard]] constexpr void* try_allocate(std::size_t size,
                                             std::size_t alignment = Align) noexcept {
    if (size > sizeof(block) || alignment > Align || !detail::is_power_of_two(alignment))
      return nullptr;
    number given = free_;
    if (given != no_block) {
      free_ = next_[given];
      --free_blocks_;
    } else if (fresh_ != Count) {
      given = fresh_++;
    } else {
      return nullptr;
    }
    next_[given] = lives;
    if (!std::is_constant_evaluated())
      detail::usable(blocks_[given].bytes, size);
    return blocks_[given].bytes;
  }

  // O(1); in a constant expression O(Count). Misuse is reported: a block that is free already, an
  // address at which no block begins.
  constexpr void deallocate(void* memory, std::size_t = 0, std::size_t = 0) noexcept {
    const std::size_t at = number_of(memory);
    if (at == Count)
      this->report_misuse("invalid free", memory, "no block of this pool begins there");
    if (at >= fresh_ || next_[at] != lives)
      this->report_misuse("double free", memory, "the block is free already");
    next_[at] = free_;
    free_ = static_cast<number>(at);
    ++free_blocks_;
    if (!std::is_constant_evaluated())
      detail::unusable(memory, sizeof(block));
  }

  // Whether the address is that of a block, free or not. O(1); in a constant expression O(Count).
  [[nodiscard]] constexpr bool owns(const void* memory) const noexcept {
    return number_of(memory) != Count;
  }

  // How many blocks live, and how many there are. O(1).
  [[nodiscard]] constexpr std::size_t live_blocks() const noexcept { return fresh_ - free_blocks_; }
  [[nodiscard]] static constexpr std::size_t capacity() noexcept { return Count; }

  // O(1).
  [[nodiscard]] constexpr allocator_usage usage() const noexcept {
    return {live_blocks() * sizeof(block), sizeof(blocks_), fresh_ * sizeof(block), 0};
  }

  // What is wrong inside, or nullptr. O(Count).
  [[nodiscard]] constexpr const char* check_invariants() const noexcept {
    std::size_t in_list = 0;
    for (std::size_t each = free_; each != no_block; each = next_[each], ++in_list)
      if (each >= fresh_ || in_list == fresh_)
        return "the list of free blocks leads astray";
    return in_list == free_blocks_ ? nullptr : "free blocks are miscounted";
  }

private:
  struct block {
    alignas(Align) std::byte bytes[Size];
  };
  using number = std::conditional_t<
      (Count < UINT8_MAX - 1), std::uint8_t,
      std::conditional_t<(Count < UINT16_MAX - 1), std::uint16_t, std::uint32_t>>;
  static constexpr number no_block = Count;  // the end of the list
  static constexpr number lives = Count + 1; // not in the list

  // Count: no block begins there.
  constexpr std::size_t number_of(const void* memory) const noexcept {
    if (std::is_constant_evaluated()) {
      for (std::size_t each = 0; each < Count; ++each)
        if (memory == blocks_[each].bytes)
          return each;
      return Count;
    }
    const std::uintptr_t offset = detail::address_of(memory) - detail::address_of(blocks_.data());
    return offset < sizeof(blocks_) && offset % sizeof(block) == 0 ? offset / sizeof(block) : Count;
  }

  // Invariants: blocks from fresh_ on have never been given; the other free ones form the list from
  // free_ through next_, and have free_blocks_ members; next_ of a block that lives is `lives`.
  // As free blocks are taken from the list first, fresh_ is also the most that ever lived.
  number free_ = no_block;
  number fresh_ = 0;
  number free_blocks_ = 0;
  std::array<number, Count> next_;
  std::array<block, Count> blocks_;
};

} // namespace mete

#endif
