// offset_heap: divides memory that it cannot or must not touch: of a graphics card, a file, another
// process. It gives offsets from 0 on, of 64 bits, and knows nothing of what is there.
//
// Basic design (two-level segregated fit, as in region_heap.hpp, with all that is known about a
// block in a table outside the memory, as in S. Aaltonen, OffsetAllocator, 2023). The table has an
// entry for each block, free or not, which names its neighbours, so a block that comes back is
// joined at once; free blocks are found by size through bits (detail/size_bins.hpp). A block that
// was given is named by its offset, its entry and a generation, so that one that is freed twice is
// noticed, even if its entry has been used again.
//
//   mete::offset_heap vertices({.name = "vertices", .capacity_bytes = 64 << 20});
//   const auto block = vertices.allocate(bytes, 256);
//   upload(buffer, block.offset, data);
//   vertices.deallocate(block);
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_OFFSET_HEAP_HPP
#define METE_OFFSET_HEAP_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include <mete/allocator.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/size_bins.hpp>
#include <mete/source.hpp>

namespace mete {

struct offset_heap_options {
  const char* name = "offset_heap";
  source* upstream = nullptr;       // of the table of blocks; nullptr: default_source()
  std::uint64_t capacity_bytes = 0; // see grow()
  std::uint64_t granularity = 16;   // sizes are rounded up to it; a power of two
  std::uint32_t reserve_blocks = 0; // room in the table at its first use, free blocks included
};

// A block that was given. Copy it as you like; it is to be freed once.
struct offset_block {
  std::uint64_t offset;
  std::uint32_t entry;
  std::uint32_t generation;
};

class offset_heap : public allocator_base<offset_heap> {
public:
  using options = offset_heap_options;

  // Acquires nothing yet. Options that cannot be make a heap that has nothing to give.
  explicit offset_heap(const options& with = {}) noexcept
      : allocator_base(with.name),
        upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        granularity_(detail::is_power_of_two(with.granularity) ? with.granularity : 0),
        reserve_blocks_(std::min(with.reserve_blocks, max_entries)) {
    static_cast<void>(grow(with.capacity_bytes));
  }
  ~offset_heap() { release_table(); }

  // O(1), but for the source when the table of blocks must double. Nothing if no free block is
  // large enough, the source has no more, or `alignment` is no power of two.
  [[nodiscard]] std::optional<offset_block> try_allocate(std::uint64_t size,
                                                         std::uint64_t alignment = 1) noexcept;

  // As try_allocate(), but throws mete::out_of_memory.
  [[nodiscard]] offset_block allocate(std::uint64_t size, std::uint64_t alignment = 1) {
    const std::optional<offset_block> block = try_allocate(size, alignment);
    if (!block) [[unlikely]]
      report_exhaustion(size, alignment);
    return *block;
  }

  // O(1). Misuse is reported: a block that is free already, or was never given.
  void deallocate(const offset_block& block) noexcept;

  // Makes the memory larger by `bytes` at its end, rounded down to the granularity. False, and no
  // change, if it would have more than 2^62 bytes, or the table has no room for the new block and
  // its source no more. O(1).
  [[nodiscard]] bool grow(std::uint64_t bytes) noexcept;

  [[nodiscard]] std::uint64_t capacity_bytes() const noexcept { return capacity_; }

  // Of a block that lives, with what rounding adds. O(1).
  [[nodiscard]] std::uint64_t bytes_of(const offset_block& block) const noexcept {
    return live_entry(block).bytes;
  }

  // The largest size that try_allocate() would give, at any offset. A block that is larger, by less
  // than one part in 32, may be overlooked where many are of almost one size. O(1).
  [[nodiscard]] std::uint64_t largest_free() const noexcept {
    if (table_.empty())
      return capacity_;
    const index found = largest_of(bins_.find_last());
    return found != none ? at(found).bytes : 0;
  }

  // Whether the block lives. O(1).
  [[nodiscard]] bool owns(const offset_block& block) const noexcept {
    return block.entry < table_.size() && at(block.entry).is == state::live &&
           at(block.entry).generation == block.generation && at(block.entry).offset == block.offset;
  }

  // How many blocks live. O(1).
  [[nodiscard]] std::size_t live_blocks() const noexcept { return live_blocks_; }

  // Gives the table of blocks back, if nothing lives. O(1).
  void trim() noexcept {
    if (live_blocks_ == 0)
      release_table();
  }

  // Calls visit(offset, bytes, is_free) for each block, in the order of their offsets. The heap
  // must not be changed meanwhile. O(blocks).
  template <class Visit>
  void for_each_block(Visit visit) const {
    if (table_.empty() && capacity_ != 0)
      visit(std::uint64_t{0}, capacity_, true);
    if (table_.empty())
      return;
    for (index each = first_; each != none; each = at(each).after)
      visit(at(each).offset, at(each).bytes, at(each).is == state::free);
  }

  // What there is, as JSON: calls write(std::string_view) with one part after the other. O(blocks).
  //   {"name":"vertices","capacity_bytes":64,"used_bytes":16,"peak_bytes":16,"largest_free":48,
  //    "blocks":[{"offset":0,"bytes":16,"free":false},{"offset":16,"bytes":48,"free":true}]}
  template <class Write>
  void dump_json(Write write) const;

  // O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {used_bytes_, capacity_, peak_bytes_, largest_request_bytes_};
  }

  // What is wrong inside, or nullptr. O(blocks).
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  using index = std::uint32_t;
  static constexpr index none = UINT32_MAX;
  static constexpr index max_entries = none;
  static constexpr index first_entries = 64;
  static constexpr std::uint64_t max_capacity = std::uint64_t{1} << 62;
  static constexpr int max_looks = 8; // how many blocks of a bin are looked at

  // `unused` ones form a list through `after`.
  enum class state : std::uint32_t { unused, free, live };
  struct entry {
    std::uint64_t offset;
    std::uint64_t bytes;
    index before, after;      // neighbours in the memory
    index previous, next;     // in the bin, if it is free
    std::uint32_t generation; // if it lives
    state is;
  };
  static_assert(sizeof(entry) == 40);
  static_assert(sizeof(std::size_t) == sizeof(std::uint64_t), "usage() counts in std::size_t");

  using bins = detail::size_bins<index, none, 64>; // in bytes

  const entry& at(index which) const noexcept { return table_[which]; }
  entry& at(index which) noexcept { return table_[which]; }

  const entry& live_entry(const offset_block& block) const noexcept {
    if (!owns(block)) [[unlikely]]
      report_dead(block);
    return at(block.entry);
  }

  // Two entries are unused then: one for what lies before an aligned block, one for the rest.
  bool reserve_entries() noexcept {
    return (unused_ != none && at(unused_).after != none) || reserve_slow();
  }
  [[gnu::noinline]] bool reserve_slow() noexcept { return grow_table(); }
  bool grow_table() noexcept;
  void release_table() noexcept;

  index take_entry(const entry& value) noexcept {
    const index taken = unused_;
    unused_ = at(taken).after;
    at(taken) = value;
    return taken;
  }
  void give_entry(index gone) noexcept {
    at(gone).is = state::unused;
    at(gone).after = unused_;
    unused_ = gone;
  }

  void unlink(index which) noexcept {
    const entry& gone = at(which);
    if (gone.next != none)
      at(gone.next).previous = gone.previous;
    if (gone.previous != none)
      at(gone.previous).next = gone.next;
    else
      bins_.set_first(bins::bin_of(gone.bytes), gone.next);
  }
  void link(index which) noexcept {
    entry& added = at(which);
    const unsigned bin = bins::bin_of(added.bytes);
    added.is = state::free;
    added.previous = none;
    added.next = bins_.first(bin);
    if (added.next != none)
      at(added.next).previous = which;
    bins_.set_first(bin, which);
  }

  // A free block behind `before`, out of memory that no block has.
  void insert_free(std::uint64_t offset, std::uint64_t bytes, index before, index after) noexcept {
    const index added = take_entry({offset, bytes, before, after, none, none, 0, state::free});
    (before != none ? at(before).after : first_) = added;
    (after != none ? at(after).before : last_) = added;
    link(added);
  }
  // The entry `gone` behind `into` ends; its memory becomes that one's.
  void join(index into, index gone) noexcept {
    at(into).bytes += at(gone).bytes;
    at(into).after = at(gone).after;
    (at(gone).after != none ? at(at(gone).after).before : last_) = into;
    give_entry(gone);
  }

  // How many bytes of a free block an aligned one must leave before itself.
  static std::uint64_t gap_of(const entry& in, std::uint64_t alignment) noexcept {
    return (0 - in.offset) & (alignment - 1);
  }
  bool fits(index which, std::uint64_t bytes, std::uint64_t alignment) const noexcept {
    return at(which).bytes >= bytes && at(which).bytes - bytes >= gap_of(at(which), alignment);
  }

  // The first blocks of the bin of the size itself are looked at too, because what fits there fits
  // best; but only one of them if another bin has what surely fits.
  index find(std::uint64_t bytes, std::uint64_t alignment) const noexcept {
    const index own = bins_.first(bins::bin_of(bytes));
    if (own != none && fits(own, bytes, alignment))
      return own;
    const std::uint64_t sure = bytes + (alignment - std::min(alignment, granularity_));
    if (const index larger = bins_.find_from(bins::bin_for(sure)); larger != none)
      return larger;
    return find_among_few(bins_.find_last(), bytes, alignment);
  }
  index find_among_few(index list, std::uint64_t bytes, std::uint64_t alignment) const noexcept {
    for (int looks = 0; list != none && looks < max_looks; ++looks, list = at(list).next)
      if (fits(list, bytes, alignment))
        return list;
    return none;
  }
  index largest_of(index list) const noexcept {
    index largest = list;
    for (int looks = 0; list != none && looks < max_looks; ++looks, list = at(list).next)
      if (at(list).bytes > at(largest).bytes)
        largest = list;
    return largest;
  }

  [[noreturn, gnu::cold, gnu::noinline]] void
  report_dead(const offset_block& block) const noexcept {
    // The offset stands for an address.
    report_misuse("double or invalid free", reinterpret_cast<const void*>(block.offset),
                  "no block lives at this offset under this entry and generation");
  }

  // Invariants: without a table there is one free block, or none if there is no capacity. Else the
  // entries from first_ to last_ through `after` are the blocks, without a gap, from 0 to
  // capacity_; no two neighbours are free; those that are free are in the bins of their sizes; all
  // other entries are in the list from unused_. Sizes and offsets are multiples of granularity_.
  source& upstream_;
  const std::uint64_t granularity_; // 0: none that could be
  const index reserve_blocks_;
  index unused_ = none;
  index first_ = none;
  index last_ = none;
  std::uint32_t generation_ = 0;
  std::uint64_t capacity_ = 0;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t peak_bytes_ = 0;
  std::uint64_t largest_request_bytes_ = 0;
  std::size_t live_blocks_ = 0;
  std::span<entry> table_;
  std::span<std::byte> memory_; // of table_
  bins bins_;
};

inline std::optional<offset_block> offset_heap::try_allocate(std::uint64_t size,
                                                             std::uint64_t alignment) noexcept {
  size += size == 0;
  largest_request_bytes_ = std::max(largest_request_bytes_, size);
  if (size > capacity_ || alignment > max_capacity || !detail::is_power_of_two(alignment) ||
      !reserve_entries()) [[unlikely]]
    return std::nullopt;
  const std::uint64_t bytes = detail::align_up(size, granularity_);
  const index given = find(bytes, alignment);
  if (given == none) [[unlikely]]
    return std::nullopt;
  unlink(given);
  entry& block = at(given);
  if (const std::uint64_t gap = gap_of(block, alignment); gap != 0) {
    block.offset += gap;
    block.bytes -= gap;
    insert_free(block.offset - gap, gap, block.before, given);
  }
  if (const std::uint64_t rest = block.bytes - bytes; rest != 0) {
    block.bytes = bytes;
    insert_free(block.offset + bytes, rest, given, block.after);
  }
  block.is = state::live;
  block.generation = ++generation_;
  ++live_blocks_;
  used_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return offset_block{block.offset, given, block.generation};
}

inline void offset_heap::deallocate(const offset_block& block) noexcept {
  used_bytes_ -= live_entry(block).bytes;
  --live_blocks_;
  index freed = block.entry;
  if (const index after = at(freed).after; after != none && at(after).is == state::free) {
    unlink(after);
    join(freed, after);
  }
  if (const index before = at(freed).before; before != none && at(before).is == state::free) {
    unlink(before);
    join(before, freed);
    freed = before;
  }
  link(freed);
}

inline bool offset_heap::grow(std::uint64_t bytes) noexcept {
  if (granularity_ == 0)
    return false;
  bytes = detail::align_down(bytes, granularity_);
  if (bytes > max_capacity - capacity_)
    return false;
  if (bytes == 0)
    return true;
  if (!table_.empty()) {
    if (last_ != none && at(last_).is == state::free) {
      unlink(last_);
      at(last_).bytes += bytes;
      link(last_);
    } else if (reserve_entries()) {
      insert_free(capacity_, bytes, last_, none);
    } else {
      return false;
    }
  }
  capacity_ += bytes;
  return true;
}

// The first table also gets the one free block that there was without it.
inline bool offset_heap::grow_table() noexcept {
  const auto old_count = static_cast<index>(table_.size());
  const std::size_t wanted = old_count == 0
                                 ? std::max(first_entries, reserve_blocks_)
                                 : std::min<std::size_t>(2 * std::size_t{old_count}, max_entries);
  std::size_t wanted_bytes = 0;
  if (wanted < std::size_t{old_count} + 2 || !detail::multiply(wanted, sizeof(entry), wanted_bytes))
    return false;
  const std::span<std::byte> memory = upstream_.acquire(wanted_bytes, alignof(entry));
  if (memory.empty())
    return false;
  auto* const entries = reinterpret_cast<entry*>(memory.data());
  std::uninitialized_copy_n(table_.data(), old_count, entries);
  std::uninitialized_fill_n(entries + old_count, wanted - old_count, entry{});
  if (!memory_.empty())
    upstream_.release(memory_, alignof(entry));
  memory_ = memory;
  table_ = {entries, wanted};
  for (std::size_t each = wanted; each != old_count; --each)
    give_entry(static_cast<index>(each - 1));
  if (old_count == 0 && capacity_ != 0)
    insert_free(0, capacity_, none, none);
  return true;
}

// REQUIRES: nothing lives, or the heap ends.
inline void offset_heap::release_table() noexcept {
  if (memory_.empty())
    return;
  upstream_.release(memory_, alignof(entry));
  memory_ = {};
  table_ = {};
  bins_.clear();
  unused_ = first_ = last_ = none;
}

template <class Write>
void offset_heap::dump_json(Write write) const {
  char text[128];
  const auto print = [&](const char* format, auto... values) {
    const int length = std::snprintf(text, sizeof(text), format, values...);
    write(std::string_view(text, static_cast<std::size_t>(length)));
  };
  write(std::string_view("{\"name\":\""));
  for (const char* each = name(); *each != '\0'; ++each) {
    const auto code = static_cast<unsigned char>(*each);
    if (code < ' ' || code == '"' || code == '\\')
      print("\\u%04x", unsigned{code});
    else
      write(std::string_view(each, 1));
  }
  print("\",\"capacity_bytes\":%zu,\"used_bytes\":%zu", std::size_t{capacity_},
        std::size_t{used_bytes_});
  print(",\"peak_bytes\":%zu,\"largest_free\":%zu,\"blocks\":[", std::size_t{peak_bytes_},
        std::size_t{largest_free()});
  const char* separator = "";
  for_each_block([&](std::uint64_t offset, std::uint64_t bytes, bool is_free) {
    print("%s{\"offset\":%zu,\"bytes\":%zu,\"free\":%s}", separator, std::size_t{offset},
          std::size_t{bytes}, is_free ? "true" : "false");
    separator = ",";
  });
  write(std::string_view("]}"));
}

inline const char* offset_heap::check_invariants() const noexcept {
  if (table_.empty())
    return live_blocks_ == 0 && used_bytes_ == 0 ? nullptr : "blocks live without a table";
  std::uint64_t end = 0;
  std::uint64_t used = 0;
  std::size_t live = 0;
  std::size_t free_blocks = 0;
  index before = none;
  for (index each = first_; each != none; before = each, each = at(each).after) {
    const entry& block = at(each);
    if (block.is == state::unused || block.offset != end || block.bytes == 0 ||
        (block.offset | block.bytes) % granularity_ != 0)
      return "a block is not where the one before ends";
    if (block.before != before)
      return "a block does not know its neighbour";
    if (block.is == state::free && before != none && at(before).is == state::free)
      return "free neighbours are not joined";
    (block.is == state::free ? free_blocks : live) += 1;
    used += block.is == state::free ? 0 : block.bytes;
    end += block.bytes;
  }
  if (end != capacity_ || last_ != before || used != used_bytes_ || live != live_blocks_)
    return "blocks are miscounted";
  std::size_t in_bins = 0;
  for (unsigned bin = 0; bin < bins::count; ++bin)
    for (index each = bins_.first(bin); each != none; each = at(each).next, ++in_bins)
      if (in_bins == free_blocks || at(each).is != state::free ||
          bins::bin_of(at(each).bytes) != bin)
        return "a bin has a block that is not its own";
  std::size_t unused = 0;
  for (index each = unused_; each != none; each = at(each).after, ++unused)
    if (at(each).is != state::unused || unused == table_.size())
      return "the list of unused entries leads astray";
  if (in_bins != free_blocks || unused + live + free_blocks != table_.size())
    return "entries are lost";
  return bins_.agree() ? nullptr : "bits and bins disagree";
}

} // namespace mete

#endif
