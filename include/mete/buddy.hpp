// buddy: blocks whose sizes are powers of two, such as pages, tiles and buffers, out of one arena.
//
// Basic design (K. Knowlton, A Fast Storage Allocator, 1965; D. Knuth, The Art of Computer
// Programming, volume 1, 2.5). A block of twice the size divides into two buddies, whose addresses
// differ in one bit; when both are free they are joined again. Which blocks are free and which live
// is said by bits outside the arena, four for each least block, so nothing is written into free
// memory and none is touched before it is given, and a double free is always noticed. The free
// block of the least address is found through words of bits (detail/bit_tree.hpp).
//
// Blocks that were freed last wait to be given again as they are, at most 16 of each size, and are
// joined when more come or memory is short (T. Lee and R. Barkley, A Watermark-Based Lazy Buddy
// System for Kernel Memory Allocation, 1989): most programs soon want such a block again.
//
//   mete::buddy tiles({.name = "tiles", .arena_bytes = 256 << 20, .min_block_bytes = 4096});
//   void* tile = tiles.allocate(65536);
//   ...
//   tiles.deallocate(tile, 65536);
//
// A block is aligned to its own size, so a request takes the least power of two that is not below
// its size, its alignment and min_block_bytes.
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_BUDDY_HPP
#define METE_BUDDY_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/bit_tree.hpp>
#include <mete/source.hpp>

namespace mete {

struct buddy_options {
  const char* name = "buddy";
  source* upstream = nullptr;         // of the bits, and of the arena; nullptr: default_source()
  std::span<std::byte> memory = {};   // the arena, if it is the caller's
  std::size_t arena_bytes = 64 << 20; // else how much is acquired
  std::size_t min_block_bytes = 64;   // a power of two, at least 64
};

class buddy : public allocator_base<buddy> {
public:
  using options = buddy_options;

  // Acquires nothing yet. Options that cannot be make a buddy that has nothing to give.
  explicit buddy(const options& with = {}) noexcept
      : allocator_base(with.name),
        upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        memory_(with.memory), arena_bytes_(with.memory.empty() ? with.arena_bytes : 0),
        min_block_bytes_(with.min_block_bytes) {}
  ~buddy() { release_all(); }

  // O(log(arena)) at worst, mostly O(1); the first one acquires the arena and the bits, which are
  // less than 1 % of it, and clears them. nullptr if no free block is large enough, or `alignment`
  // is no power of two.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    const unsigned wanted = order_of(std::max(size, alignment));
    if (wanted >= order_count_ || !detail::is_power_of_two(alignment) ||
        orders_[wanted].waiting_count == 0 || detail::annotating()) [[unlikely]]
      return allocate_slow(size, alignment);
    order& from = orders_[wanted];
    return give(from, from.waiting[--from.waiting_count], size);
  }

  // O(1), but that after 16 frees of one size 8 of them are joined, O(log(arena)) each. Misuse is
  // reported: a block that is free already, or has another size, or is not of this buddy.
  // REQUIRES: the size, and the alignment if it was larger than the size.
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    const unsigned freed = order_of(std::max(size, alignment));
    if (!owns(block) || freed >= order_count_) [[unlikely]]
      report_foreign(block);
    order& to = orders_[freed];
    if (!detail::is_aligned(detail::address_of(block), to.block_bytes) ||
        !clear_live(to, number_of(to, block))) [[unlikely]]
      report_dead(block);
    used_bytes_ -= to.block_bytes;
    if (to.waiting_count == max_waiting || detail::annotating()) [[unlikely]]
      return tell_and_wait(to, block);
    to.waiting[to.waiting_count++] = block;
  }

  // The largest size that try_allocate() would give. Joins what waits: O(log(arena)^2).
  [[nodiscard]] std::size_t largest_free() noexcept {
    if (!set_up())
      return 0;
    join_all_waiting();
    for (unsigned each = order_count_; each-- != 0;)
      if (!orders_[each].free.empty())
        return orders_[each].block_bytes;
    return 0;
  }

  // Gives the arena and the bits back, if nothing lives; else joins what waits.
  void trim() noexcept {
    if (used_bytes_ == 0)
      release_all();
    else
      join_all_waiting();
  }

  // Whether the address lies in the arena. O(1).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return detail::address_of(block) - low_ < range_bytes_;
  }

  // What the bits take. 0 before the first allocation.
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return metadata_.size(); }

  // O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {used_bytes_, range_bytes_, peak_bytes_, largest_request_bytes_};
  }

  // What is wrong inside, or nullptr. O(arena / min_block_bytes).
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  static constexpr std::uint32_t max_waiting = 16;
  static constexpr unsigned max_orders = 48;
  static constexpr std::size_t least_block_bytes = 64;

  // The blocks of one size. Their numbers are their addresses divided by the size, less `first`,
  // which is even, so that buddies differ in the lowest bit.
  struct order {
    std::uint64_t* live;
    std::size_t first;
    std::size_t block_bytes;
    std::uint32_t shift; // block_bytes is 2^shift
    std::uint32_t waiting_count;
    void* waiting[max_waiting];
    detail::bit_tree free;
    std::size_t count; // even
  };

  // Least blocks have order 0.
  unsigned order_of(std::size_t bytes) const noexcept {
    const std::size_t last = (bytes - (bytes != 0)) | least_mask_ | (least_block_bytes - 1);
    return static_cast<unsigned>(std::bit_width(last)) - shift_;
  }
  static std::size_t number_of(const order& of, const void* block) noexcept {
    return (detail::address_of(block) >> of.shift) - of.first;
  }
  static void* block_of(const order& of, std::size_t number) noexcept {
    return reinterpret_cast<void*>((number + of.first) << of.shift);
  }

  static void set_live(const order& of, std::size_t number) noexcept {
    of.live[number / 64] |= std::uint64_t{1} << (number % 64);
  }
  static bool is_live(const order& of, std::size_t number) noexcept {
    return (of.live[number / 64] >> (number % 64) & 1) != 0;
  }
  // False: it was not.
  static bool clear_live(const order& of, std::size_t number) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    std::uint64_t& word = of.live[number / 64];
    const bool was = (word & bit) != 0;
    word &= ~bit;
    return was;
  }

  // Makes a block live that neither lives nor is free.
  void* give(order& of, void* block, std::size_t size) noexcept {
    set_live(of, number_of(of, block));
    used_bytes_ += of.block_bytes;
    peak_bytes_ = std::max(peak_bytes_, used_bytes_);
    largest_request_bytes_ = std::max(largest_request_bytes_, size);
    return block;
  }

  // The first request, one that cannot be, one for which no block waits, or all if anybody listens.
  [[gnu::noinline]] void* allocate_slow(std::size_t size, std::size_t alignment) noexcept {
    if (!detail::is_power_of_two(alignment) || !set_up())
      return nullptr;
    const unsigned wanted = order_of(std::max(size, alignment));
    void* const block = wanted < order_count_ ? take(wanted) : nullptr;
    if (block == nullptr) {
      largest_request_bytes_ = std::max(largest_request_bytes_, size);
      return nullptr;
    }
    detail::usable(block, size);
    return give(orders_[wanted], block, size);
  }

  [[gnu::noinline]] void tell_and_wait(order& to, void* block) noexcept {
    detail::unusable(block, to.block_bytes);
    if (to.waiting_count == max_waiting)
      join_waiting(static_cast<unsigned>(&to - orders_), max_waiting / 2);
    to.waiting[to.waiting_count++] = block;
  }

  // A block of this order, that neither lives nor is free; or nullptr. A larger one is divided if
  // there is none.
  void* take(unsigned wanted) noexcept {
    void* block = take_and_divide(wanted);
    if (block == nullptr) { // before it fails, it joins
      join_all_waiting();
      block = take_and_divide(wanted);
    }
    return block;
  }

  void* take_and_divide(unsigned wanted) noexcept {
    for (unsigned from = wanted; from < order_count_; ++from) {
      void* const block = take_whole(orders_[from]);
      if (block == nullptr)
        continue;
      for (unsigned half = from; half-- != wanted;)
        orders_[half].free.insert(number_of(orders_[half], block) ^ 1);
      return block;
    }
    return nullptr;
  }

  static void* take_whole(order& from) noexcept {
    if (from.waiting_count != 0)
      return from.waiting[--from.waiting_count];
    const std::size_t number = from.free.least();
    if (number == detail::bit_tree::none)
      return nullptr;
    from.free.erase(number);
    return block_of(from, number);
  }

  // Makes the block free, with its buddy if that is free too, and so on.
  void join(void* block, unsigned which) noexcept {
    std::size_t number = number_of(orders_[which], block);
    while (which + 1 < order_count_ && orders_[which].free.has(number ^ 1)) {
      orders_[which].free.erase(number ^ 1);
      ++which;
      number = number_of(orders_[which], block);
    }
    orders_[which].free.insert(number);
  }

  // Those that have waited longest.
  [[gnu::noinline]] void join_waiting(unsigned which, std::uint32_t count) noexcept {
    order& of = orders_[which];
    for (std::uint32_t each = 0; each < count; ++each)
      join(of.waiting[each], which);
    std::copy(of.waiting + count, of.waiting + of.waiting_count, of.waiting);
    of.waiting_count -= count;
  }
  void join_all_waiting() noexcept {
    for (unsigned each = 0; each < order_count_; ++each)
      join_waiting(each, orders_[each].waiting_count);
  }

  bool set_up() noexcept;
  bool make_orders(std::uintptr_t begin, std::uintptr_t end) noexcept;
  void insert_all(std::uintptr_t begin, std::uintptr_t end) noexcept;
  void release_all() noexcept;

  std::size_t count_covered(unsigned which, std::size_t number, const char*& wrong) const noexcept;
  bool waits(unsigned which, std::size_t number) const noexcept {
    const order& of = orders_[which];
    return std::find(of.waiting, of.waiting + of.waiting_count, block_of(of, number)) !=
           of.waiting + of.waiting_count;
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report_foreign(const void* block) const noexcept {
    report_misuse("foreign free", block, "it is not of this allocator, or its size cannot be");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_dead(const void* block) const noexcept {
    report_misuse("double free", block, "no block of this size lives there");
  }

  // Invariants: without orders, nothing is held but the caller's memory. Else each least block from
  // low_ on belongs to exactly one block, which lives, is free, or waits; no two buddies are free.
  // What does not live is declared unusable.
  order* orders_ = nullptr; // order_count_ of them, in metadata_
  unsigned order_count_ = 0;
  unsigned shift_ = 0; // a least block has 2^shift_ bytes
  std::size_t least_mask_ = 0;
  std::uintptr_t low_ = 0; // of the arena
  std::size_t range_bytes_ = 0;
  std::size_t used_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
  std::size_t largest_request_bytes_ = 0;
  source& upstream_;
  std::span<std::byte> memory_;   // the caller's, or what was acquired
  const std::size_t arena_bytes_; // 0: the caller's
  const std::size_t min_block_bytes_;
  std::size_t arena_alignment_ = 1;
  std::span<std::byte> metadata_;
};

// False if the source has no more, or the options cannot be.
inline bool buddy::set_up() noexcept {
  if (order_count_ != 0)
    return true;
  if (!detail::is_power_of_two(min_block_bytes_) || min_block_bytes_ < least_block_bytes)
    return false;
  if (arena_bytes_ != 0) {
    if (arena_bytes_ < min_block_bytes_)
      return false;
    // Aligned to the largest block that it can have.
    arena_alignment_ = std::max(min_block_bytes_, std::bit_floor(arena_bytes_));
    memory_ = upstream_.acquire(arena_bytes_, arena_alignment_);
    if (memory_.empty()) { // with smaller blocks is better than nothing
      arena_alignment_ = min_block_bytes_;
      memory_ = upstream_.acquire(arena_bytes_, arena_alignment_);
    }
  }
  const std::uintptr_t address = detail::address_of(memory_.data());
  std::uintptr_t begin = 0;
  if (memory_.empty() || !detail::round_up(address, min_block_bytes_, begin))
    return false;
  const std::uintptr_t end = detail::align_down(address + memory_.size(), min_block_bytes_);
  shift_ = static_cast<unsigned>(std::countr_zero(min_block_bytes_));
  least_mask_ = min_block_bytes_ - 1;
  if (begin >= end || !make_orders(begin, end)) {
    release_all();
    return false;
  }
  low_ = begin;
  range_bytes_ = end - begin;
  detail::unusable(memory_.data(), memory_.size());
  insert_all(begin, end);
  return true;
}

inline bool buddy::make_orders(std::uintptr_t begin, std::uintptr_t end) noexcept {
  const auto first_of = [&](unsigned which) {
    return detail::align_down(begin >> (which + shift_), 2);
  };
  const auto count_of = [&](unsigned which) {
    return detail::align_up(((end - 1) >> (which + shift_)) + 1, 2) - first_of(which);
  };
  // The largest order is the last of which a whole block may be there.
  const unsigned orders =
      std::min(max_orders, static_cast<unsigned>(std::bit_width((end - begin) >> shift_)));
  std::size_t bytes = orders * sizeof(order);
  for (unsigned each = 0; each < orders; ++each)
    bytes += ((count_of(each) + 63) / 64 + detail::bit_tree::words_for(count_of(each))) *
             sizeof(std::uint64_t);
  metadata_ = upstream_.acquire(bytes, alignof(order));
  if (metadata_.empty())
    return false;
  std::memset(metadata_.data(), 0, bytes);
  orders_ = reinterpret_cast<order*>(metadata_.data());
  auto* words = reinterpret_cast<std::uint64_t*>(orders_ + orders);
  for (unsigned each = 0; each < orders; ++each) {
    auto& made = *std::construct_at(orders_ + each);
    made.first = first_of(each);
    made.count = count_of(each);
    made.shift = each + shift_;
    made.block_bytes = std::size_t{1} << made.shift;
    made.live = words;
    words += (made.count + 63) / 64;
    made.free = detail::bit_tree(words, made.count);
    words += detail::bit_tree::words_for(made.count);
  }
  order_count_ = orders;
  return true;
}

// In the largest blocks that their addresses allow.
inline void buddy::insert_all(std::uintptr_t begin, std::uintptr_t end) noexcept {
  while (begin != end) {
    const auto by_address = static_cast<unsigned>(std::countr_zero(begin >> shift_));
    const auto by_size = static_cast<unsigned>(std::bit_width((end - begin) >> shift_)) - 1;
    const unsigned which = std::min({by_address, by_size, order_count_ - 1});
    order& of = orders_[which];
    of.free.insert(number_of(of, reinterpret_cast<void*>(begin)));
    begin += of.block_bytes;
  }
}

inline void buddy::release_all() noexcept {
  if (!metadata_.empty())
    upstream_.release(metadata_, alignof(order));
  metadata_ = {};
  orders_ = nullptr;
  order_count_ = 0;
  range_bytes_ = 0;
  if (arena_bytes_ == 0) {
    detail::usable(memory_.data(), memory_.size());
    return;
  }
  if (!memory_.empty())
    upstream_.release(memory_, arena_alignment_);
  memory_ = {};
}

// The bytes below this block that belong to some block, of the largest such ones.
inline std::size_t buddy::count_covered(unsigned which, std::size_t number,
                                        const char*& wrong) const noexcept {
  const order& of = orders_[which];
  const int marks = int{of.free.has(number)} + int{is_live(of, number)} + int{waits(which, number)};
  if (marks > 1)
    wrong = "a block is free and lives";
  if (of.free.has(number) && of.free.has(number ^ 1) && which + 1 != order_count_)
    wrong = "free buddies are not joined";
  if (marks != 0)
    return of.block_bytes;
  if (which == 0)
    return 0;
  const std::size_t left = (number + of.first) * 2 - orders_[which - 1].first;
  std::size_t covered = 0;
  for (const std::size_t each : {left, left + 1})
    if (each < orders_[which - 1].count)
      covered += count_covered(which - 1, each, wrong);
  return covered;
}

inline const char* buddy::check_invariants() const noexcept {
  if (order_count_ == 0)
    return used_bytes_ == 0 ? nullptr : "blocks live without an arena";
  const char* wrong = nullptr;
  std::size_t covered = 0;
  for (std::size_t number = 0; number < orders_[order_count_ - 1].count; ++number)
    covered += count_covered(order_count_ - 1, number, wrong);
  std::size_t live = 0;
  std::size_t marked = 0; // more than covered, if a block lies in another one
  for (unsigned each = 0; each < order_count_; ++each) {
    const order& of = orders_[each];
    for (std::size_t number = 0; number < of.count; ++number) {
      live += is_live(of, number) ? of.block_bytes : 0;
      marked += is_live(of, number) || of.free.has(number) ? of.block_bytes : 0;
    }
    marked += of.waiting_count * of.block_bytes;
  }
  if (wrong == nullptr && (covered != range_bytes_ || marked != covered))
    wrong = "blocks overlap, or memory is lost";
  if (wrong == nullptr && live != used_bytes_)
    wrong = "bytes are miscounted";
  return wrong;
}

} // namespace mete

#endif
