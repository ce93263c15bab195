// SPDX-License-Identifier: MIT
#include "heap/outbox.hpp"

#include "heap/heap.hpp"

#include <algorithm>
#include <bit>
#include <functional>

namespace mete::heap {
namespace {

// The blocks of one slab, sorted; returns how many of the list they are.
unsigned deliver_to_slab(slab& s, void* const* blocks, unsigned count) {
  const char* const end = s.begin + s.info().units * unit_bytes;
  unsigned delivered = 0;
  while (delivered < count && blocks[delivered] < end) {
    const unsigned first = block_index(s, blocks[delivered]);
    const unsigned word = first / 64;
    std::uint64_t bits = 0;
    for (; delivered < count && blocks[delivered] < end; ++delivered) {
      const unsigned index = block_index(s, blocks[delivered]);
      if (index / 64 != word)
        break;
      const std::uint64_t bit = std::uint64_t{1} << (index % 64);
      if ((bits & bit) != 0) [[unlikely]]
        report_double_free(s, blocks[delivered]);
      bits |= bit;
    }
    const std::uint64_t twice = deliver(s.remote_bits(), word, bits);
    if (twice != 0) [[unlikely]]
      report_double_free(s, s.block(word * 64 + static_cast<unsigned>(std::countr_zero(twice))));
  }
  publish(s.remote, delivered);
  return delivered;
}

[[noreturn, gnu::cold]] void report_vanished(const void* block) {
  misuse("double free", block, "its slab has been given back since the block was freed first");
}

} // namespace

void outbox::deliver() {
  if (!std::is_sorted(blocks_, blocks_ + count_, std::less<>()))
    std::sort(blocks_, blocks_ + count_, std::less<>());
  for (unsigned at = 0; at < count_;) {
    const page::location where = page::locate(blocks_[at]);
    auto* const s = static_cast<slab*>(where.descriptor->load(std::memory_order_relaxed));
    if (s == nullptr ||
        where.tag->load(std::memory_order_relaxed) >> page::tag_owner_shift == 0) [[unlikely]]
      report_vanished(blocks_[at]);
    at += deliver_to_slab(*s, blocks_ + at, count_ - at);
  }
  count_ = 0;
  bytes_ = 0;
}

} // namespace mete::heap
