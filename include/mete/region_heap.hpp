// region_heap: a malloc inside memory that you own, with a bound on the time of each call. For real
// time, embedded programs, and memory that several processes share.
//
// Basic design (two-level segregated fit: M. Masmano, I. Ripoll, A. Crespo, J. Real, TLSF: a New
// Dynamic Memory Allocator for Real-Time Systems, 2004; boundary tags: D. Knuth, The Art of
// Computer Programming, volume 1, 2.5). A tag of 8 bytes before each block has its size, and
// whether it and the one before are free; so a block that comes back is joined at once with its
// neighbours, and free blocks are found by size through bits (detail/size_bins.hpp). No step
// depends on how many blocks there are. No memory is used but the spans and this object.
//
//   alignas(16) static std::byte memory[1 << 20];
//   mete::region_heap heap({.name = "control", .memory = memory});
//   void* message = heap.allocate(200);
//   ...
//   heap.deallocate(message);
//
// A tag is sealed: 16 of its bits depend on the others, on its address and on the heap. So a tag
// that was overwritten, an address at which no block begins, and a block that is free are noticed
// when they meet a call; a wrong seal passes once in 65536 times.
//
// Against the heap of the C library: a bound on time, memory of your choice, and one thread at a
// time. Shared memory must lie at the same address in each process, this object included, and
// processes take turns.
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_REGION_HEAP_HPP
#define METE_REGION_HEAP_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/size_bins.hpp>

namespace mete {

struct region_heap_options {
  const char* name = "region_heap";
  std::span<std::byte> memory = {}; // the first region; see add_region()
};

class region_heap : public allocator_base<region_heap> {
public:
  using options = region_heap_options;

  // A block as for_each_block() shows it. `bytes` can be used; its tag comes on top.
  struct block_view {
    void* memory;
    std::size_t bytes;
    bool is_free;
  };

  explicit region_heap(const options& with = {}) noexcept
      : allocator_base(with.name), seal_(detail::address_of(this) * seal_factor) {
    if (!with.memory.empty())
      add_region(with.memory);
  }
  ~region_heap() {
    while (const region* const gone = first_region_) {
      first_region_ = gone->next;
      detail::usable(gone->begin(), gone->bytes);
    }
  }

  // O(1). nullptr if no free block is large enough, or `alignment` is no power of two. Blocks have
  // 8 bytes more than was asked for, rounded up to 16 in all; the least takes 32.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    largest_request_bytes_ = std::max(largest_request_bytes_, size);
    if (alignment > granule || size > max_request_bytes || !detail::is_power_of_two(alignment) ||
        detail::annotating()) [[unlikely]]
      return allocate_slow(size, alignment);
    return allocate_block(block_bytes_for(size));
  }

  // O(1). Misuse is reported: an address outside the regions, one at which no block begins, a block
  // that is free already, and tags or links next to the block that were overwritten.
  void deallocate(void* block, std::size_t = 0, std::size_t = 0) noexcept {
    if (detail::annotating()) [[unlikely]]
      return tell_and_free(block);
    free_block(block);
  }

  // Makes the block larger or smaller in place. True if the block behind it allows it. O(1).
  [[nodiscard]] bool try_expand(void* block, std::size_t old_size, std::size_t new_size) noexcept;

  // A block of the new size with the contents of the old one, up to the lesser size: the same block
  // where try_expand() can, else another one, and the old one is freed. nullptr if there is no
  // room; the old one stays. nullptr for `block`: as try_allocate(). O(1) and the copy.
  [[nodiscard]] void* try_reallocate(void* block, std::size_t old_size, std::size_t new_size,
                                     std::size_t alignment = default_alignment) noexcept {
    if (block != nullptr && try_expand(block, old_size, new_size))
      return block;
    void* const moved = try_allocate(new_size, alignment);
    if (moved == nullptr || block == nullptr)
      return moved;
    std::memcpy(moved, block, std::min(old_size, new_size));
    deallocate(block);
    return moved;
  }

  // Adds memory, of which 32 bytes are needed for itself; the caller keeps it until the heap or the
  // region ends. False if it is too small, above 1 TiB, or overlaps a region. O(regions).
  bool add_region(std::span<std::byte> memory) noexcept;

  // Takes a region out again, if nothing lives in it; else, or if there is no such region, returns
  // false. O(regions).
  [[nodiscard]] bool remove_region(std::span<const std::byte> memory) noexcept;

  // The largest size that try_allocate() would give, without more alignment than the default. A
  // block that is larger, by less than one part in 32, may be overlooked where many are of almost
  // one size. O(1).
  [[nodiscard]] std::size_t largest_free() const noexcept {
    const detail::unreported silent;
    std::byte* const found = largest_of(bins_.find_last());
    return found != nullptr ? std::min(bytes_of(tag_at(found)) - tag_bytes, max_request_bytes) : 0;
  }

  // Whether the address lies in a block, free or not. O(regions).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    for (const region* each = first_region_; each != nullptr; each = each->next)
      if (detail::address_of(block) - detail::address_of(each->first_block()) <
          each->bytes - region_overhead_bytes)
        return true;
    return false;
  }

  // Calls visit(block_view) for each block, free or not, in the order of their addresses in a
  // region. The heap must not be changed meanwhile. O(blocks).
  template <class Visit>
  void for_each_block(Visit visit) const {
    for (const region* each = first_region_; each != nullptr; each = each->next) {
      std::byte* at = each->first_block();
      for (tag seen = look_at(at); bytes_of(seen) != 0; seen = look_at(at)) {
        visit(block_view{at + tag_bytes, bytes_of(seen) - tag_bytes, (seen & is_free) != 0});
        at += bytes_of(seen);
      }
    }
  }

  // used_bytes has tags and what rounding adds. O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {used_bytes_, reserved_bytes_, peak_bytes_, largest_request_bytes_};
  }

  // What is wrong inside, or nullptr. A tag whose seal is wrong is reported as misuse. O(blocks).
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  // Lies at the begin of its memory; the first block's tag follows.
  struct region {
    region* next;
    std::size_t bytes; // this record and the last tag included
    std::byte* memory; // this record's address

    std::byte* begin() const noexcept { return memory; }
    std::byte* first_block() const noexcept { return memory + sizeof(region); }
    std::byte* last_tag() const noexcept { return memory + bytes - tag_bytes; }
  };

  // A block is named by the address of its tag. Of a free one, the links and at its very end its
  // size again follow, so that the block behind it finds it.
  using tag = std::uint64_t;
  static constexpr tag is_free = 1;
  static constexpr tag previous_is_free = 2;
  static constexpr int seal_shift = 48; // above size and flags
  static constexpr tag size_mask = (tag{1} << seal_shift) - 16;
  static constexpr std::uint64_t seal_factor = 0x9e3779b97f4a7c15; // odd, bits well mixed

  static constexpr std::size_t granule = 16;
  static constexpr std::size_t tag_bytes = sizeof(tag);
  static constexpr std::size_t next_at = tag_bytes; // in the list of its bin
  static constexpr std::size_t previous_at = next_at + sizeof(std::uint64_t);
  static constexpr std::size_t min_block_bytes = 32;
  static constexpr std::size_t region_overhead_bytes = sizeof(region) + tag_bytes;
  static constexpr std::size_t max_region_bytes = std::size_t{1} << 40;
  static constexpr std::size_t max_request_bytes = max_region_bytes / 2;
  static constexpr int max_looks = 8; // how many blocks of a bin are looked at
  static_assert(sizeof(region) % granule == tag_bytes, "blocks must be aligned");
  static_assert(default_alignment <= granule);
  static_assert(sizeof(void*) == sizeof(std::uint64_t), "links have 8 bytes");

  // In granules. A request with its alignment is below 2^37 of them.
  using bins = detail::size_bins<std::byte*, nullptr, 38>;

  static constexpr std::size_t bytes_of(tag of) noexcept { return of & size_mask; }
  static constexpr std::size_t block_bytes_for(std::size_t size) noexcept {
    return std::max(detail::align_up(size + tag_bytes, granule), min_block_bytes);
  }

  tag sealed(const std::byte* at, tag plain) const noexcept {
    const std::uint64_t mixed = (plain ^ detail::address_of(at) ^ seal_) * seal_factor;
    return plain | (mixed >> seal_shift << seal_shift);
  }
  void set_tag(std::byte* at, tag plain) const noexcept {
    detail::store_own(at, sealed(at, plain));
  }
  // Without the seal, which is looked at.
  tag tag_at(const std::byte* at) const noexcept {
    const tag found = detail::load_own<tag>(at);
    const tag plain = found & ((tag{1} << seal_shift) - 1);
    if (sealed(at, plain) != found) [[unlikely]]
      report_overwritten(at);
    return plain;
  }
  tag look_at(const std::byte* at) const noexcept {
    const detail::unreported silent;
    return tag_at(at);
  }

  static std::byte* next_of(const std::byte* at) noexcept {
    return detail::load_own<std::byte*>(at + next_at);
  }
  static std::byte* previous_of(const std::byte* at) noexcept {
    return detail::load_own<std::byte*>(at + previous_at);
  }
  bool in_range(const void* address) const noexcept {
    return detail::address_of(address) - low_ < range_bytes_;
  }

  // Takes a free block out of its bin. Links are followed only if they lead back.
  void unlink(std::byte* at, std::size_t bytes) noexcept {
    std::byte* const next = next_of(at);
    std::byte* const previous = previous_of(at);
    if (next != nullptr) {
      if (!in_range(next) || previous_of(next) != at) [[unlikely]]
        report_overwritten(at);
      detail::store_own(next + previous_at, previous);
    }
    if (previous != nullptr) {
      if (!in_range(previous) || next_of(previous) != at) [[unlikely]]
        report_overwritten(at);
      detail::store_own(previous + next_at, next);
      return;
    }
    const unsigned bin = bins::bin_of(bytes / granule);
    if (bins_.first(bin) != at) [[unlikely]]
      report_overwritten(at);
    bins_.set_first(bin, next);
  }

  // Makes it a free block. The caller sees to the flag in the tag behind it.
  void link(std::byte* at, std::size_t bytes) noexcept {
    const unsigned bin = bins::bin_of(bytes / granule);
    std::byte* const next = bins_.first(bin);
    set_tag(at, bytes | is_free);
    detail::store_own(at + next_at, next);
    detail::store_own(at + previous_at, static_cast<std::byte*>(nullptr));
    detail::store_own(at + bytes - sizeof(std::uint64_t), std::uint64_t{bytes});
    if (next != nullptr)
      detail::store_own(next + previous_at, at);
    bins_.set_first(bin, at);
  }

  // A free block of at least this size, or nullptr. The bin of the size itself is looked at first,
  // because what fits there fits best.
  std::byte* find(std::size_t bytes) const noexcept {
    std::byte* const own = bins_.first(bins::bin_of(bytes / granule));
    if (own != nullptr && bytes_of(tag_at(own)) >= bytes)
      return own;
    std::byte* const larger = bins_.find_from(bins::bin_for(bytes / granule));
    if (larger != nullptr || own == nullptr)
      return larger;
    std::byte* const largest = largest_of(own);
    return bytes_of(tag_at(largest)) >= bytes ? largest : nullptr;
  }

  // Of the first few blocks of a list.
  std::byte* largest_of(std::byte* list) const noexcept {
    std::byte* largest = list;
    std::size_t most = 0;
    for (int looks = 0; list != nullptr && looks < max_looks; ++looks, list = next_of(list)) {
      if (!in_range(list)) [[unlikely]]
        report_overwritten(list);
      if (const std::size_t bytes = bytes_of(tag_at(list)); bytes > most) {
        most = bytes;
        largest = list;
      }
    }
    return largest;
  }

  void* allocate_block(std::size_t bytes) noexcept {
    std::byte* const at = find(bytes);
    if (at == nullptr) [[unlikely]]
      return nullptr;
    const std::size_t found = bytes_of(tag_at(at));
    unlink(at, found);
    return use(at, found, bytes, 0);
  }

  // Makes `bytes` bytes a block that lives, out of `found` ones that are in no bin; the rest, if it
  // is large enough for a block, is free.
  // REQUIRES: the block behind is told that this one is free.
  void* use(std::byte* at, std::size_t found, std::size_t bytes, tag flags) noexcept {
    const std::size_t given = give(at, found, bytes, flags);
    used_bytes_ += given;
    peak_bytes_ = std::max(peak_bytes_, used_bytes_);
    return at + tag_bytes;
  }
  std::size_t give(std::byte* at, std::size_t found, std::size_t bytes, tag flags) noexcept {
    if (found - bytes >= min_block_bytes) {
      link(at + bytes, found - bytes);
    } else {
      bytes = found;
      std::byte* const behind = at + found;
      set_tag(behind, tag_at(behind) & ~previous_is_free);
    }
    set_tag(at, bytes | flags);
    return bytes;
  }

  // The tag of a block that lives, at an address that may be anybody's.
  tag live_tag(const void* block) const noexcept {
    if (!in_range(block) || !detail::is_aligned(detail::address_of(block), granule)) [[unlikely]]
      report_foreign(block);
    const tag found = tag_at(static_cast<const std::byte*>(block) - tag_bytes);
    if ((found & is_free) != 0) [[unlikely]]
      report_double(block);
    return found;
  }

  void free_block(void* block) noexcept {
    const tag freed = live_tag(block);
    std::byte* at = static_cast<std::byte*>(block) - tag_bytes;
    std::size_t bytes = bytes_of(freed);
    std::byte* const behind = at + bytes;
    const tag behind_tag = tag_at(behind);
    used_bytes_ -= bytes;
    if ((behind_tag & is_free) != 0) {
      unlink(behind, bytes_of(behind_tag));
      bytes += bytes_of(behind_tag);
    } else {
      set_tag(behind, behind_tag | previous_is_free);
    }
    if ((freed & previous_is_free) != 0) {
      std::byte* const previous = free_block_before(at);
      set_tag(at, is_free); // a second free must find it so
      bytes += static_cast<std::size_t>(at - previous);
      unlink(previous, static_cast<std::size_t>(at - previous));
      at = previous;
    }
    link(at, bytes);
  }

  std::byte* free_block_before(std::byte* at) const noexcept {
    const auto bytes = detail::load_own<std::uint64_t>(at - sizeof(std::uint64_t));
    // As a number, which may wrap around: `bytes` is not to be trusted yet.
    auto* const previous = reinterpret_cast<std::byte*>(detail::address_of(at) - bytes);
    if (bytes % granule != 0 || !in_range(previous)) [[unlikely]]
      report_overwritten(at - sizeof(std::uint64_t));
    const tag found = tag_at(previous);
    if (bytes_of(found) != bytes || (found & is_free) == 0) [[unlikely]]
      report_overwritten(previous);
    return previous;
  }

  [[gnu::noinline]] void* allocate_slow(std::size_t size, std::size_t alignment) noexcept {
    if (size > max_request_bytes || alignment > max_request_bytes ||
        !detail::is_power_of_two(alignment))
      return nullptr;
    const detail::unreported silent;
    void* const block = alignment > granule ? allocate_aligned(block_bytes_for(size), alignment)
                                            : allocate_block(block_bytes_for(size));
    if (block != nullptr)
      detail::usable(block, size + (size == 0));
    return block;
  }

  // What lies before the aligned address becomes a free block, so it must be large enough for one:
  // from `alignment - 16` bytes it may grow to `alignment + 16`.
  void* allocate_aligned(std::size_t bytes, std::size_t alignment) noexcept {
    std::byte* const at = find(bytes + alignment + granule);
    if (at == nullptr)
      return nullptr;
    std::size_t found = bytes_of(tag_at(at));
    unlink(at, found);
    std::size_t gap = (0 - detail::address_of(at + tag_bytes)) & (alignment - 1);
    if (gap == 0)
      return use(at, found, bytes, 0);
    if (gap < min_block_bytes)
      gap += alignment;
    void* const block = use(at + gap, found - gap, bytes, previous_is_free);
    link(at, gap);
    return block;
  }

  [[gnu::noinline]] void tell_and_free(void* block) noexcept {
    const detail::unreported silent;
    const std::size_t bytes = bytes_of(live_tag(block)) - tag_bytes;
    free_block(block);
    detail::unusable(block, bytes);
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report_foreign(const void* block) const noexcept {
    report_misuse("foreign free", block, "it is not of this heap");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_double(const void* block) const noexcept {
    report_misuse("double free", block, "the block is free already");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_overwritten(const void* at) const noexcept {
    report_misuse("damage", at, "a tag or link was overwritten, or no block begins behind it");
  }

  // Invariants: a region is its record, blocks without a gap, and a tag of size 0 that lives. A tag
  // has previous_is_free exactly if the block before it is free; of two neighbours at most one is
  // free. The free blocks are those in the bins, each in the bin of its size. used_bytes_ is the
  // size of all others, tags included. All tags, links and free blocks are declared unusable.
  std::uint64_t seal_;
  std::size_t used_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
  std::size_t largest_request_bytes_ = 0;
  std::uintptr_t low_ = 0; // all regions that there were lie in range_bytes_ from here
  std::size_t range_bytes_ = 0;
  std::size_t reserved_bytes_ = 0;
  region* first_region_ = nullptr;
  bins bins_;
};

inline bool region_heap::try_expand(void* block, std::size_t old_size,
                                    std::size_t new_size) noexcept {
  const detail::unreported silent;
  const tag before = live_tag(block);
  if (new_size > max_request_bytes)
    return false;
  const std::size_t wanted = block_bytes_for(new_size);
  std::byte* const at = static_cast<std::byte*>(block) - tag_bytes;
  std::byte* const behind = at + bytes_of(before);
  const tag behind_tag = tag_at(behind);
  const bool joins = (behind_tag & is_free) != 0;
  const std::size_t room = bytes_of(before) + (joins ? bytes_of(behind_tag) : 0);
  if (wanted > room)
    return false;
  if (joins)
    unlink(behind, bytes_of(behind_tag));
  else
    set_tag(behind, behind_tag | previous_is_free);
  used_bytes_ -= bytes_of(before);
  use(at, room, wanted, before & previous_is_free);
  old_size += old_size == 0;
  new_size += new_size == 0;
  auto* const begin = static_cast<std::byte*>(block);
  if (new_size > old_size)
    detail::usable(begin + old_size, new_size - old_size);
  else
    detail::unusable(begin + new_size, old_size - new_size);
  return true;
}

inline bool region_heap::add_region(std::span<std::byte> memory) noexcept {
  const std::size_t skipped = (0 - detail::address_of(memory.data())) & (granule - 1);
  if (memory.size() < skipped + region_overhead_bytes + min_block_bytes)
    return false;
  const std::size_t bytes = detail::align_down(memory.size() - skipped, granule);
  if (bytes > max_region_bytes)
    return false;
  std::byte* const begin = memory.data() + skipped;
  const std::uintptr_t from = detail::address_of(begin);
  for (const region* each = first_region_; each != nullptr; each = each->next)
    if (from < detail::address_of(each) + each->bytes && detail::address_of(each) < from + bytes)
      return false;
  detail::own(begin, sizeof(region));
  first_region_ = new (begin) region{first_region_, bytes, begin};
  const std::uintptr_t end = std::max(low_ + range_bytes_, from + bytes);
  low_ = range_bytes_ == 0 ? from : std::min(low_, from);
  range_bytes_ = end - low_;
  reserved_bytes_ += bytes;
  detail::unusable(begin + sizeof(region), bytes - sizeof(region));
  const detail::unreported silent;
  set_tag(first_region_->last_tag(), previous_is_free);
  link(first_region_->first_block(), bytes - region_overhead_bytes);
  return true;
}

inline bool region_heap::remove_region(std::span<const std::byte> memory) noexcept {
  const std::size_t skipped = (0 - detail::address_of(memory.data())) & (granule - 1);
  region** at = &first_region_;
  while (*at != nullptr && (*at)->begin() != memory.data() + skipped)
    at = &(*at)->next;
  region* const gone = *at;
  if (gone == nullptr || gone->bytes != detail::align_down(memory.size() - skipped, granule))
    return false;
  const detail::unreported silent;
  const std::size_t all = gone->bytes - region_overhead_bytes;
  if (tag_at(gone->first_block()) != (all | is_free))
    return false;
  unlink(gone->first_block(), all);
  *at = gone->next;
  reserved_bytes_ -= gone->bytes;
  detail::usable(gone->begin(), gone->bytes);
  return true;
}

inline const char* region_heap::check_invariants() const noexcept {
  const detail::unreported silent;
  std::size_t used = 0;
  std::size_t free_blocks = 0;
  std::size_t reserved = 0;
  for (const region* each = first_region_; each != nullptr; each = each->next) {
    reserved += each->bytes;
    std::byte* at = each->first_block();
    bool previous = false;
    tag found = tag_at(at);
    for (; at != each->last_tag(); found = tag_at(at)) {
      const bool free = (found & is_free) != 0;
      const std::size_t bytes = bytes_of(found);
      if (bytes < min_block_bytes || bytes > static_cast<std::size_t>(each->last_tag() - at))
        return "a block's size is impossible";
      if (((found & previous_is_free) != 0) != previous || (free && previous))
        return "a free block is unknown to its neighbour, or not joined with it";
      if (free && free_block_before(at + bytes) != at)
        return "a free block is not found from behind";
      free_blocks += free;
      used += free ? 0 : bytes;
      previous = free;
      at += bytes;
    }
    if (bytes_of(found) != 0 || ((found & previous_is_free) != 0) != previous)
      return "the end of a region is wrong";
  }
  if (used != used_bytes_ || reserved != reserved_bytes_)
    return "bytes are miscounted";
  std::size_t in_bins = 0;
  for (unsigned bin = 0; bin < bins::count; ++bin) {
    for (std::byte* at = bins_.first(bin); at != nullptr; at = next_of(at), ++in_bins) {
      const tag found = tag_at(at);
      if (in_bins == free_blocks || (found & is_free) == 0 ||
          bins::bin_of(bytes_of(found) / granule) != bin)
        return "a bin has a block that is not its own";
    }
  }
  if (in_bins != free_blocks)
    return "free blocks are in no bin";
  return bins_.agree() ? nullptr : "bits and bins disagree";
}

} // namespace mete

#endif
