// SPDX-License-Identifier: MIT
#include "heap/slab.hpp"

#include "heap/freed_mark.hpp"
#include "os/memory.hpp"

#include <algorithm>
#include <bit>

namespace mete::heap {
namespace {

struct block_range {
  unsigned first;
  unsigned end;
};

unsigned page_count(const slab& s) {
  return static_cast<unsigned>(s.info().units * (unit_bytes >> os::page_shift));
}

// The blocks that touch pages [first, end). What is left over behind the last block counts as a
// part of it: so no range is empty, and whoever claims pages claims a block, which keeps the slab
// alive.
block_range blocks_touching(const slab& s, unsigned first, unsigned end) {
  const std::size_t bytes = s.info().block_bytes;
  const unsigned capacity = s.info().capacity;
  const auto begin = static_cast<unsigned>((std::size_t{first} << os::page_shift) / bytes);
  const auto behind = static_cast<unsigned>(divide_up(std::size_t{end} << os::page_shift, bytes));
  return {begin < capacity ? begin : capacity - 1, behind < capacity ? behind : capacity};
}

std::uint64_t pages_of_block(const slab& s, unsigned index) {
  const std::size_t begin = std::size_t{index} * s.info().block_bytes;
  const auto first = static_cast<unsigned>(begin >> os::page_shift);
  const auto last = static_cast<unsigned>((begin + s.info().block_bytes - 1) >> os::page_shift);
  const unsigned end = index + 1u == s.info().capacity ? page_count(s) : last + 1;
  return low_bits(end) & ~low_bits(first);
}

// Calls visit(word, mask) for the words of the free bits that hold the range.
template <class Visit>
void for_each_word(block_range range, Visit visit) {
  while (range.first < range.end) {
    const unsigned in_word = range.first % 64;
    const unsigned left = range.end - range.first;
    const unsigned width = left < 64 - in_word ? left : 64 - in_word;
    visit(range.first / 64, low_bits(width) << in_word);
    range.first += width;
  }
}

// Calls visit(blocks) for each stretch of neighbouring pages in the mask.
template <class Visit>
void for_each_stretch(const slab& s, std::uint64_t pages, Visit visit) {
  while (pages != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(pages));
    const auto length = static_cast<unsigned>(std::countr_one(pages >> first));
    visit(blocks_touching(s, first, first + length));
    pages &= ~(low_bits(length) << first);
  }
}

// Pages of the slab that will be used again: the blocks that begin there get back the marks that
// purging took from them. The first of them is about to be handed out, so the memory is wanted.
[[gnu::cold]] void use_purged_pages(slab& s, std::uint64_t pages) {
  s.purged_pages &= ~pages;
  const std::size_t bytes = s.info().block_bytes;
  for (; pages != 0; pages &= pages - 1) {
    const std::size_t begin = std::size_t{static_cast<unsigned>(std::countr_zero(pages))}
                              << os::page_shift;
    for (std::size_t index = divide_up(begin, bytes);
         index < s.frontier() && index * bytes < begin + os::page_bytes; ++index)
      mark_freed(s.block(static_cast<unsigned>(index)));
  }
}

// The next `count` blocks beyond the frontier are taken, and most will wait in a cache. They bear
// the mark, which goes when they are handed out, and so does the one that comes next: whoever frees
// the neighbour of a block is noticed. Only where that touches hardly a page before its time.
void mark_fresh(slab& s, unsigned count) {
  const std::size_t bytes = s.info().block_bytes;
  if (bytes > max_table_bytes)
    return;
  const unsigned last = s.frontier() + count;
  char* const end = s.block(last);
  for (char* block = s.block(s.frontier()); block != end; block += bytes)
    mark_freed(block);
  const bool on_touched_page =
      (last - 1) * bytes >> os::page_shift == last * bytes >> os::page_shift;
  if (last < s.info().capacity && on_touched_page)
    mark_freed(end);
}

// The blocks of a word of the free bits that touch a purged page.
std::uint64_t purged_blocks(const slab& s, unsigned word) {
  std::uint64_t result = 0;
  for_each_stretch(s, s.purged_pages, [&](block_range blocks) {
    const unsigned begin = word * 64;
    const unsigned first = std::max(blocks.first, begin);
    const unsigned end = std::min(blocks.end, begin + 64);
    if (first < end)
      result |= low_bits(end - first) << (first - begin);
  });
  return result;
}

// Moves up to `wanted` of the `free` blocks of a word of the bits to `out`. Returns those that are
// left.
inline std::uint64_t take_of_word(const slab& s, unsigned word, std::uint64_t free, void**& out,
                                  unsigned& wanted) {
  const std::size_t bytes = s.info().block_bytes;
  char* const begin = s.block(word * 64);
  void** to = out;
  void** const end = to + wanted;
  for (; free != 0 && to != end; free &= free - 1)
    *to++ = begin + static_cast<std::size_t>(std::countr_zero(free)) * bytes;
  out = to;
  wanted = static_cast<unsigned>(end - to);
  return free;
}

// The pages among the purged ones that the blocks touch.
[[gnu::cold]] void use_purged_pages_of(slab& s, unsigned word, std::uint64_t blocks) {
  for (; blocks != 0; blocks &= blocks - 1) {
    const unsigned index = word * 64 + static_cast<unsigned>(std::countr_zero(blocks));
    if (const auto pages = s.purged_pages & pages_of_block(s, index); pages != 0)
      use_purged_pages(s, pages);
  }
}

// What take_blocks() takes of the blocks that were used before.
void take_used(slab& s, void**& out, unsigned& wanted, bool avoid_purged) {
  published_bits* const bits = s.free_bits();
  const bool any_purged = s.purged_pages != 0;
  const unsigned words = s.info().words, wanted_before = wanted;
  for (unsigned word = 0; word < words && wanted != 0; ++word) {
    const std::uint64_t before = bits[word];
    std::uint64_t avoided = 0;
    if (any_purged && avoid_purged && before != 0) [[unlikely]]
      avoided = before & purged_blocks(s, word);
    const std::uint64_t left = take_of_word(s, word, before & ~avoided, out, wanted) | avoided;
    if (any_purged) [[unlikely]]
      use_purged_pages_of(s, word, before & ~left);
    bits[word] = left;
  }
  s.free_count = static_cast<std::uint16_t>(s.free_count - (wanted_before - wanted));
}

// The same of those beyond the frontier.
void take_fresh(slab& s, void**& out, unsigned& wanted) {
  const unsigned frontier = s.frontier();
  const unsigned count = std::min<unsigned>(s.info().capacity - frontier, wanted);
  if (count == 0)
    return;
  mark_fresh(s, count);
  const std::size_t bytes = s.info().block_bytes;
  char* block = s.block(frontier);
  for (void** const end = out + count; out != end; block += bytes)
    *out++ = block;
  wanted -= count;
  s.set_frontier(frontier + count);
}

} // namespace

void initialise_slab(slab& s, unsigned class_index, char* begin, bool zeroed) {
  s.begin = begin;
  s.class_index = static_cast<std::uint8_t>(class_index);
  s.zero_beyond_frontier = zeroed;
}

bool slab::any_unpurged() {
  for (unsigned word = 0; word < info().words; ++word)
    if (free_bits()[word] != 0 && (free_bits()[word] & ~purged_blocks(*this, word)) != 0)
      return true;
  return false;
}

unsigned take_blocks(slab& s, void** out, unsigned wanted, unsigned& fresh_from,
                     bool avoid_purged) {
  void** to = out;
  if (s.free_count != 0)
    take_used(s, to, wanted, avoid_purged);
  const auto used = static_cast<unsigned>(to - out);
  take_fresh(s, to, wanted);
  const auto taken = static_cast<unsigned>(to - out);
  fresh_from = s.zero_beyond_frontier ? used : taken;
  s.idle_rounds = 0;
  return taken;
}

unsigned put_blocks(slab& s, void* const* blocks, unsigned count) {
  // As block_index() does it. Copied: for all the compiler knows, writing the bits could change
  // what they are copied from.
  const size_class& info = s.info();
  const std::uint64_t reciprocal = info.reciprocal;
  const std::size_t block_bytes = info.block_bytes, slab_bytes = info.units * unit_bytes;
  const unsigned frontier = s.frontier();
  const char* const begin = s.begin;
  published_bits* const bits = s.free_bits();
  unsigned done = 0;
  for (; done < count; ++done) {
    const auto offset = static_cast<std::size_t>(static_cast<char*>(blocks[done]) - begin);
    if (offset >= slab_bytes)
      break;
    const auto index = static_cast<unsigned>(offset * reciprocal >> 32);
    if (index * block_bytes != offset || index >= frontier) [[unlikely]]
      report_bad_block(s, blocks[done], "invalid free");
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    const std::uint64_t before = bits[index / 64];
    if ((before & bit) != 0) [[unlikely]]
      report_double_free(s, blocks[done]);
    bits[index / 64] = before | bit;
  }
  s.free_count = static_cast<std::uint16_t>(s.free_count + done);
  s.idle_rounds = 0;
  return done;
}

void collect_remote(slab& s) {
  published_bits* const free_bits = s.free_bits();
  const collected result =
      collect(s.remote, s.remote_bits(), s.info().words, [&](std::size_t word, std::uint64_t bits) {
        const std::uint64_t twice = free_bits[word] & bits;
        if (twice != 0) [[unlikely]]
          report_double_free(s, s.block(static_cast<unsigned>(word * 64) +
                                        static_cast<unsigned>(std::countr_zero(twice))));
        free_bits[word] |= bits;
      });
  s.free_count = static_cast<std::uint16_t>(s.free_count + result.blocks);
  s.idle_rounds = 0;
}

void give_up_frontier(slab& s) {
  for_each_word({s.frontier(), s.info().capacity},
                [&](unsigned word, std::uint64_t mask) { s.free_bits()[word] |= mask; });
  s.free_count = static_cast<std::uint16_t>(s.free_count + s.info().capacity - s.frontier());
  s.set_frontier(s.info().capacity);
}

std::uint64_t purgeable_pages(slab& s) {
  if (!s.zero_beyond_frontier)
    give_up_frontier(s); // what lies beyond may hold the memory of an earlier life
  std::uint64_t result = 0;
  // Blocks that touch a page fill it, but for what is left over behind the last block.
  if ((s.free_count + 1u) * std::size_t{s.info().block_bytes} <= os::page_bytes)
    return result;
  for (unsigned page = 0; page < page_count(s); ++page) {
    if ((s.purged_pages >> page & 1) != 0)
      continue;
    bool all_free = true;
    for_each_word(blocks_touching(s, page, page + 1), [&](unsigned word, std::uint64_t mask) {
      all_free = all_free && (s.free_bits()[word] & mask) == mask;
    });
    if (all_free)
      result |= std::uint64_t{1} << page;
  }
  return result;
}

void claim_pages(slab& s, std::uint64_t pages) {
  for_each_stretch(s, pages, [&](block_range blocks) {
    for_each_word(blocks, [&](unsigned word, std::uint64_t mask) {
      s.free_count =
          static_cast<std::uint16_t>(s.free_count - count_bits(s.free_bits()[word] & mask));
      s.free_bits()[word] &= ~mask;
    });
  });
  s.purged_pages |= pages;
}

void unclaim_pages(slab& s, std::uint64_t pages, std::uint64_t purged) {
  for_each_stretch(s, pages, [&](block_range blocks) {
    for_each_word(blocks, [&](unsigned word, std::uint64_t mask) {
      s.free_count =
          static_cast<std::uint16_t>(s.free_count + count_bits(~s.free_bits()[word] & mask));
      s.free_bits()[word] |= mask;
    });
  });
  s.purged_pages &= ~(pages & ~purged);
}

void check_slab_invariants(slab& s) {
  unsigned set = 0;
  for (unsigned word = 0; word < s.info().words; ++word)
    set += count_bits(s.free_bits()[word]);
  METE_CHECK(set == s.free_count);
  METE_CHECK(s.frontier() <= s.info().capacity && s.free_count <= s.frontier());
  for (unsigned index = s.frontier(); index < s.info().capacity; ++index)
    METE_CHECK((s.free_bits()[index / 64] >> (index % 64) & 1) == 0);
  for (unsigned index = 0; index < s.frontier(); ++index)
    METE_CHECK((s.purged_pages & pages_of_block(s, index)) == 0 ||
               (s.free_bits()[index / 64] >> (index % 64) & 1) != 0);
  METE_CHECK(s.remote.debt >= 0);
}

void report_bad_block(const slab& s, const void* address, const char* use) {
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(address) - s.begin);
  const std::size_t index = offset / s.info().block_bytes;
  message known{message::empty_tag{}};
  if (offset % s.info().block_bytes != 0 && index < s.frontier())
    known << "it points " << offset % s.info().block_bytes << " bytes into the block of "
          << s.info().block_bytes << " bytes at "
          << static_cast<const void*>(s.block(static_cast<unsigned>(index)));
  else
    known << "no block was ever handed out there (slab of " << s.info().block_bytes
          << "-byte blocks at " << static_cast<const void*>(s.begin) << ")";
  misuse(use, address, known);
}

void report_freed_block(const slab& s, const void* address, const char* use) {
  message known{message::empty_tag{}};
  known << "the block of " << s.info().block_bytes << " bytes is free already (slab at "
        << static_cast<const void*>(s.begin) << ")";
  misuse(use, address, known);
}

} // namespace mete::heap
