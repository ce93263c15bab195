// Slabs of blocks of one size: what slab_cache and object_pool have in common.
//
// Basic design (J. Bonwick, The Slab Allocator, 1994). A slab is a power of two of bytes, and
// aligned to as many, so the slab of a block is found by a mask. It begins with its header, in
// which a bit for each block says whether that is free; nothing is ever written into a free block.
// So a block that is freed twice is seen at once, and a page that nobody has used stays untouched.
// Blocks of later slabs begin some cache lines further on (colouring).
//
//   header | bits | extra bytes | colour | block 0 | block 1 | ... | rest
//
// The block that was freed last is given first: it is in the processor's caches, and a program that
// frees and allocates by turns does not wait for the bits. The others are taken from one slab, the
// current one, word of bits by word of bits. The other slabs
// are in the list of the full or the empty ones, or of the partial ones of the same quarter: those
// of which up to a quarter lives, up to half and so on. The fullest are used first, so that the
// others become empty. Frees do not look at lists: each slab counts the frees that are missing
// until it must change its list (`until_event`).
//
// A block's number is (offset / block_bytes). One multiplication with the inverse of the size's odd
// part modulo 2^32, and one rotation, give it where the offset is a multiple, and a number beyond
// all blocks where it is not (T. Granlund and P. Montgomery, Division by Invariant Integers Using
// Multiplication, 1994, section 9).
//
// All O(1), but where it is said otherwise: a slab has at most 64 words of bits. Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_SLABS_HPP
#define METE_DETAIL_SLABS_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include <mete/detail/address_index.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/source.hpp>

namespace mete::detail {

struct slab_link {
  slab_link* next = this;
  slab_link* previous = this;

  bool alone() const noexcept { return next == this; }
  void unlink() noexcept {
    next->previous = previous;
    previous->next = next;
    next = previous = this;
  }
  void push_back(slab_link& added) noexcept {
    added.next = this;
    added.previous = previous;
    previous->next = &added;
    previous = &added;
  }
};

// Lies at the begin of its memory.
struct slab : slab_link {
  void* owner;                // nullptr: it has been released
  slab* next_in_chain;        // address_index
  std::size_t acquired_bytes; // as the source gave them
  std::uint32_t begin;        // of block 0, from the slab's begin
  std::uint32_t until_event;  // frees until it changes its list

  std::uint64_t* free_bits() noexcept { return reinterpret_cast<std::uint64_t*>(this + 1); }
  const std::uint64_t* free_bits() const noexcept {
    return reinterpret_cast<const std::uint64_t*>(this + 1);
  }
};
static_assert(sizeof(slab) == 48, "with the bits of 128 blocks: one cache line");

// What else a slab's header has room for.
struct extra_bytes {
  std::size_t for_slab = 0;
  std::size_t for_block = 0;
};

// Where everything lies in a slab. capacity = 0: such blocks cannot be.
struct slab_geometry {
  static constexpr std::size_t max_block_bytes = std::size_t{1} << 25;
  static constexpr std::size_t max_slab_bytes = std::size_t{1} << 30;
  static constexpr std::size_t max_blocks = 64 * 64;
  static constexpr std::size_t colour_bytes = 64; // a cache line
  // At a slab's end, and not acquired: a heap puts its own header there, in front of the next slab,
  // which otherwise would begin a whole slab later.
  static constexpr std::size_t gap_bytes = 16;

  std::size_t slab_bytes = 1;
  std::size_t block_bytes = 0; // with what rounding adds
  std::size_t extra_at = 0;    // offset of the extra bytes
  std::size_t begin = 0;       // offset of block 0, without colour
  std::size_t colour_step = 0;
  std::size_t colours = 1;
  std::uint32_t capacity = 0;
  std::uint32_t inverse = 0; // odd part of block_bytes, times this: 1 modulo 2^32
  int shift = 0;             // block_bytes = odd part << shift

  constexpr std::size_t words() const noexcept { return (capacity + std::size_t{63}) / 64; }
  constexpr std::size_t acquired_bytes() const noexcept { return slab_bytes - gap_bytes; }

  // Not below `capacity` where `offset` is not that of a block.
  constexpr std::uint32_t index_of(std::uint32_t offset) const noexcept {
    return std::rotr(offset * inverse, shift);
  }

  // `wanted_slab_bytes`: 0 for what suits the block. What is wanted is rounded to what can be.
  static constexpr slab_geometry of(std::size_t block_bytes, std::size_t alignment,
                                    std::size_t wanted_slab_bytes = 0,
                                    extra_bytes extra = {}) noexcept {
    slab_geometry found;
    if (!is_power_of_two(alignment) || alignment > max_block_bytes || block_bytes > max_block_bytes)
      return found;
    found.block_bytes = align_up(std::max(block_bytes, min_block_bytes), alignment);
    // At least 16 KiB, so that slabs are few; at least 16 blocks, so that the rest is small. Of
    // large blocks 7: they lose an eighth at most, and one of them does not bring 31 along.
    const std::size_t suitable = found.block_bytes <= max_small_block_bytes ? 16 : 7;
    const std::size_t blocks = wanted_slab_bytes == 0 ? suitable : 1;
    const std::size_t least = std::bit_ceil(found.begin_for(blocks, alignment, extra) +
                                            blocks * found.block_bytes + gap_bytes);
    const std::size_t wanted = wanted_slab_bytes == 0 ? default_slab_bytes : wanted_slab_bytes;
    found.slab_bytes = std::max(least, std::bit_ceil(std::min(wanted, max_slab_bytes)));
    while (found.slab_bytes / found.block_bytes > max_blocks)
      found.slab_bytes /= 2;
    found.divide(alignment, extra);
    return found;
  }

private:
  static constexpr std::size_t default_slab_bytes = 16384;
  static constexpr std::size_t max_small_block_bytes = 4096;
  static constexpr std::size_t min_block_bytes = default_slab_bytes / max_blocks;

  constexpr std::size_t begin_for(std::size_t blocks, std::size_t alignment,
                                  extra_bytes extra) const noexcept {
    return align_up(bits_end(blocks) + extra.for_slab + blocks * extra.for_block, alignment);
  }
  static constexpr std::size_t bits_end(std::size_t blocks) noexcept {
    return sizeof(slab) + (blocks + 63) / 64 * sizeof(std::uint64_t);
  }

  constexpr void divide(std::size_t alignment, extra_bytes extra) noexcept {
    std::size_t blocks = slab_bytes / block_bytes;
    while (begin_for(blocks, alignment, extra) + blocks * block_bytes > acquired_bytes())
      --blocks;
    capacity = static_cast<std::uint32_t>(blocks);
    extra_at = bits_end(blocks);
    begin = begin_for(blocks, alignment, extra);
    colour_step = std::max(colour_bytes, alignment);
    colours = (acquired_bytes() - begin - blocks * block_bytes) / colour_step + 1;
    shift = std::countr_zero(block_bytes);
    const auto odd = static_cast<std::uint32_t>(block_bytes >> shift);
    inverse = odd; // right in 3 bits; each step doubles them
    for (int bits = 3; bits < 32; bits *= 2)
      inverse *= 2 - odd * inverse;
  }
};

// The geometry of slabs whose blocks are known at run time.
struct any_geometry {
  const slab_geometry value;
};

// `Self` derives from this and has
//   bool slab_added(slab&) noexcept     prepares it; false: it cannot be used, and goes back
//   void slab_removed(slab&) noexcept   before it goes back
//   void report_misuse(what, address, known) noexcept
// `Geometry` has `value`, a slab_geometry.
template <class Self, class Geometry>
class slabs {
public:
  slabs(const slabs&) = delete;
  slabs& operator=(const slabs&) = delete;

  // Whether the address is that of a block, free or not.
  bool owns(const void* block) const noexcept {
    const slab_geometry& at = geometry();
    const std::uintptr_t base = align_down(address_of(block), at.slab_bytes);
    const slab* const in = index_.find(base);
    return in != nullptr && number_of(*in, block) < at.capacity;
  }

  std::size_t live_blocks() const noexcept { return taken_blocks() - (last_freed_ != nullptr); }

  // Gives back what is empty. O(slabs that go).
  void trim() noexcept {
    if (last_freed_ != nullptr)
      set_free(last_freed_at_);
    last_freed_ = nullptr;
    while (!empty().alone())
      release(slab_of(empty().next));
    empty_slabs_ = 0;
    if (current_ != nullptr && free_blocks(*current_) == geometry().capacity) {
      release(*current_);
      leave_current();
    }
    if (slab_count_ == 0)
      index_.clear(upstream_);
  }

  // What does not hold of what is said at the data, or nullptr. O(slabs).
  const char* check_invariants() const noexcept;

protected:
  slabs(source* upstream, std::size_t max_empty_bytes, Geometry geometry) noexcept
      : geometry_(geometry), upstream_(upstream != nullptr ? *upstream : default_source()),
        max_empty_slabs_(max_empty_bytes / geometry_.value.slab_bytes) {}
  ~slabs() = default;

  // For the destructor of Self. O(slabs).
  void release_all() noexcept {
    if (current_ != nullptr)
      release(*current_);
    for (slab_link& list : lists_)
      while (!list.alone())
        release(slab_of(list.next));
    index_.clear(upstream_);
  }

  const slab_geometry& geometry() const noexcept { return geometry_.value; }
  source& upstream() const noexcept { return upstream_; }
  std::size_t reserved_bytes() const noexcept { return reserved_bytes_; }
  std::size_t used_bytes() const noexcept { return live_blocks() * geometry().block_bytes; }
  std::size_t peak_bytes() const noexcept { return peak_blocks_ * geometry().block_bytes; }
  void keep_all_slabs() noexcept { max_empty_slabs_ = SIZE_MAX; }

  // A block, or nullptr if the source has no more. The caller declares it usable.
  void* take() noexcept {
    if (last_freed_ != nullptr)
      return std::exchange(last_freed_, nullptr);
    return take_from_current();
  }

  // Where a block lies.
  struct place {
    slab* in;
    std::uint32_t number;
  };

  // REQUIRES: it is a block of these slabs.
  place place_of(const void* block) const noexcept {
    slab& in = slab_of_block(block);
    return {&in, number_of(in, block)};
  }
  static Self& owner_of(const void* block) noexcept requires requires { Geometry::value; }
  {
    const std::uintptr_t base = align_down(address_of(block), Geometry::value.slab_bytes);
    return *static_cast<Self*>(static_cast<slabs*>(reinterpret_cast<const slab*>(base)->owner));
  }

  // The same, but of any address; reports misuse if it is no block.
  place find(const void* block) const noexcept {
    if (address_of(block) - low_ >= range_bytes_) [[unlikely]]
      report_foreign(block);
    const place at = place_of(block);
    if (at.in->owner != this) [[unlikely]]
      report_foreign(block);
    if (at.number >= geometry().capacity) [[unlikely]]
      report_inside(block);
    return at;
  }
  void check_lives(place at, const void* block) const noexcept {
    const bool is_free = (at.in->free_bits()[at.number / 64] >> (at.number % 64) & 1) != 0;
    if (is_free || block == last_freed_) [[unlikely]]
      report_double(block);
  }

  // REQUIRES: the block lives, and has been declared unusable.
  void give_back(place at, void* block) noexcept {
    void* const before = std::exchange(last_freed_, block);
    const place before_at = std::exchange(last_freed_at_, at);
    if (before != nullptr)
      set_free(before_at);
  }

  slab& slab_of_block(const void* block) const noexcept {
    return *reinterpret_cast<slab*>(align_down(address_of(block), geometry().slab_bytes));
  }
  std::byte* block_at(slab& in, std::size_t number) const noexcept {
    return reinterpret_cast<std::byte*>(&in) + in.begin + number * geometry().block_bytes;
  }

private:
  static constexpr std::uint32_t no_event = std::uint32_t{1} << 31; // not soon
  static constexpr std::size_t quarters = 4;

  // With the last freed.
  std::size_t taken_blocks() const noexcept { return peak_blocks_ - below_peak_; }

  static slab& slab_of(slab_link* link) noexcept { return *static_cast<slab*>(link); }
  slab_link& partial(std::size_t quarter) noexcept { return lists_[quarter]; }
  slab_link& full() noexcept { return lists_[quarters]; }
  slab_link& empty() noexcept { return lists_[quarters + 1]; }

  // How many blocks of a slab live when it has just left this quarter. Of the first one none.
  std::size_t most_below(std::size_t quarter) const noexcept {
    return quarter == 0 ? 0 : (quarter * geometry().capacity + quarters - 1) / quarters - 1;
  }

  std::uint32_t number_of(const slab& in, const void* block) const noexcept {
    const std::uintptr_t offset = address_of(block) - address_of(&in);
    return geometry().index_of(static_cast<std::uint32_t>(offset) - in.begin);
  }

  std::size_t free_blocks(const slab& in) const noexcept {
    std::size_t count = 0;
    for (std::size_t word = 0; word < geometry().words(); ++word)
      count += static_cast<std::size_t>(std::popcount(in.free_bits()[word]));
    return count;
  }

  void* take_from_current() noexcept {
    const std::uint64_t word = *word_;
    if (word == 0) [[unlikely]]
      return take_from_next();
    *word_ = word & (word - 1);
    if (below_peak_ == 0)
      ++peak_blocks_;
    else
      --below_peak_;
    return word_begin_ + static_cast<unsigned>(std::countr_zero(word)) * geometry().block_bytes;
  }

  // The slab may be released.
  void set_free(place at) noexcept {
    at.in->free_bits()[at.number / 64] |= std::uint64_t{1} << (at.number % 64);
    ++below_peak_;
    if (--at.in->until_event == 0) [[unlikely]]
      change_list(*at.in);
  }

  [[gnu::noinline]] void* take_from_next() noexcept {
    if (current_ == nullptr || !enter_word()) {
      if (current_ != nullptr) {
        current_->until_event = 1;
        full().push_back(*current_);
        leave_current();
      }
      if (!enter_next_slab())
        return nullptr;
    }
    return take_from_current();
  }

  // The first word of the current slab that has a free block.
  bool enter_word() noexcept {
    for (std::size_t word = 0; word < geometry().words(); ++word) {
      if (current_->free_bits()[word] != 0) {
        word_ = current_->free_bits() + word;
        word_begin_ = block_at(*current_, word * 64);
        return true;
      }
    }
    return false;
  }

  void leave_current() noexcept {
    current_ = nullptr;
    word_ = &no_blocks_;
  }

  // Of the fullest partial slabs the one that has waited longest: more blocks of it have been freed
  // since. The emptier ones are left to become empty.
  bool enter_next_slab() noexcept {
    slab* next = nullptr;
    for (std::size_t quarter = quarters; next == nullptr && quarter-- != 0;)
      if (!partial(quarter).alone())
        next = &slab_of(partial(quarter).next);
    if (next == nullptr && !empty().alone()) {
      next = &slab_of(empty().previous); // the last used: it is still in the caches
      --empty_slabs_;
    } else if (next == nullptr) {
      next = acquire();
    }
    if (next == nullptr)
      return false;
    next->unlink();
    next->until_event = no_event;
    current_ = next;
    return enter_word();
  }

  slab* acquire() noexcept {
    const slab_geometry& at = geometry();
    if (at.capacity == 0)
      return nullptr;
    const std::span<std::byte> memory = upstream_.acquire(at.acquired_bytes(), at.slab_bytes);
    if (memory.empty())
      return nullptr;
    auto* const added = new (memory.data()) slab;
    added->owner = this;
    added->acquired_bytes = memory.size();
    added->begin = static_cast<std::uint32_t>(at.begin + colour_ * at.colour_step);
    colour_ = (colour_ + 1) % at.colours;
    std::fill_n(added->free_bits(), at.words(), ~std::uint64_t{0});
    if (at.capacity % 64 != 0)
      added->free_bits()[at.words() - 1] = (std::uint64_t{1} << (at.capacity % 64)) - 1;
    if (!static_cast<Self*>(this)->slab_added(*added)) {
      upstream_.release(memory, at.slab_bytes);
      return nullptr;
    }
    unusable(block_at(*added, 0), at.capacity * at.block_bytes);
    ++slab_count_;
    reserved_bytes_ += memory.size();
    index_.insert(*added, upstream_);
    note_range(address_of(added), at.slab_bytes);
    return added;
  }

  void note_range(std::uintptr_t begin, std::size_t bytes) noexcept {
    const std::uintptr_t end = std::max(low_ + range_bytes_, begin + bytes);
    low_ = range_bytes_ == 0 ? begin : std::min(low_, begin);
    range_bytes_ = end - low_;
  }

  // REQUIRES: if it is the current one, the caller leaves it.
  void release(slab& gone) noexcept {
    gone.unlink();
    static_cast<Self*>(this)->slab_removed(gone);
    index_.erase(gone);
    --slab_count_;
    reserved_bytes_ -= gone.acquired_bytes;
    gone.owner = nullptr;
    upstream_.release({reinterpret_cast<std::byte*>(&gone), gone.acquired_bytes},
                      geometry().slab_bytes);
  }

  [[gnu::noinline]] void change_list(slab& of) noexcept {
    if (&of == current_) {
      of.until_event = no_event;
      return;
    }
    const std::size_t used = geometry().capacity - free_blocks(of);
    const std::size_t quarter = used * quarters / geometry().capacity;
    of.until_event = static_cast<std::uint32_t>(used - most_below(quarter));
    if (used != 0) {
      of.unlink();
      partial(quarter).push_back(of);
    } else if (empty_slabs_ < max_empty_slabs_) {
      of.unlink();
      empty().push_back(of);
      ++empty_slabs_;
    } else {
      release(of);
    }
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report_foreign(const void* block) const noexcept {
    static_cast<const Self*>(this)->report_misuse("foreign free", block,
                                                  "it is not of this allocator");
    __builtin_unreachable();
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_inside(const void* block) const noexcept {
    static_cast<const Self*>(this)->report_misuse("invalid free", block, "no block begins there");
    __builtin_unreachable();
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_double(const void* block) const noexcept {
    static_cast<const Self*>(this)->report_misuse("double free", block,
                                                  "the block is free already");
    __builtin_unreachable();
  }

  // Invariants: a slab is the current one or in one list. word_ is one of its words, or
  // &no_blocks_. Of a full slab until_event = 1 and no bit is set; of a partial one until_event is
  // the number of frees until it leaves its quarter; of an empty one all bits are set. last_freed_
  // is none of the blocks whose bits are set: nothing else of it is free. The blocks whose bits are
  // not set are peak_blocks_ - below_peak_; as last_freed_ is taken first, there were never more of
  // them than have lived at once.
  void* last_freed_ = nullptr;
  place last_freed_at_ = {};
  std::uint64_t* word_ = &no_blocks_;
  std::byte* word_begin_ = nullptr; // the block of its lowest bit
  std::size_t below_peak_ = 0;
  std::size_t peak_blocks_ = 0;
  [[no_unique_address]] Geometry geometry_;
  std::uintptr_t low_ = 0; // all slabs that there were lie in range_bytes_ from here
  std::size_t range_bytes_ = 0;
  slab* current_ = nullptr;
  slab_link lists_[quarters + 2]; // of the partial ones by quarters, the full, the empty ones
  std::size_t empty_slabs_ = 0;
  source& upstream_;
  std::size_t max_empty_slabs_;
  std::size_t slab_count_ = 0;
  std::size_t reserved_bytes_ = 0;
  std::size_t colour_ = 0;
  std::uint64_t no_blocks_ = 0;
  address_index<slab> index_;
};

template <class Self, class Geometry>
const char* slabs<Self, Geometry>::check_invariants() const noexcept {
  const slab_geometry& at = geometry();
  std::size_t live = 0;
  std::size_t count = 0;
  const char* wrong = nullptr;
  const auto look_at = [&](const slab& each, bool fits, const char* what) {
    ++count;
    live += at.capacity - free_blocks(each);
    if (!fits)
      wrong = what;
    if (each.owner != this || !owns(block_at(const_cast<slab&>(each), 0)))
      wrong = "a slab is not known";
  };
  const auto look_at_all = [&](const slab_link& list, auto&& fits, const char* what) {
    const std::size_t before = count;
    for (const slab_link* link = list.next; link != &list; link = link->next) {
      const slab& each = *static_cast<const slab*>(link);
      look_at(each, fits(each, at.capacity - free_blocks(each)), what);
    }
    return count - before;
  };
  for (std::size_t quarter = 0; quarter < quarters; ++quarter)
    look_at_all(
        lists_[quarter],
        [&](const slab& each, std::size_t used) {
          return used != 0 && used * quarters / at.capacity == quarter &&
                 each.until_event == used - most_below(quarter);
        },
        "a partial slab is not as full as was thought");
  look_at_all(
      lists_[quarters],
      [&](const slab& each, std::size_t used) {
        return used == at.capacity && each.until_event == 1;
      },
      "a full slab is not full");
  const std::size_t empty = look_at_all(
      lists_[quarters + 1], [](const slab&, std::size_t used) { return used == 0; },
      "an empty slab is not empty");
  if (current_ != nullptr)
    look_at(*current_, current_->alone(), "the current slab is in a list");
  if (live != taken_blocks())
    return "live blocks are miscounted";
  if (count != slab_count_ || empty != empty_slabs_ || empty > max_empty_slabs_)
    return "slabs are miscounted";
  return wrong;
}

} // namespace mete::detail

#endif
