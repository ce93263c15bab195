// SPDX-License-Identifier: MIT
#include "heap/outbox.hpp"

#include "heap/heap.hpp"

#include <bit>

namespace mete::heap {
namespace {

[[noreturn, gnu::cold]] void report_vanished(const void* block) {
  misuse("double free", block, "its slab has been given back since the block was freed first");
}

// The slab of a block that was freed some time ago.
slab& find_slab(const void* block) {
  const page::location where = page::locate(block);
  auto* const s = static_cast<slab*>(where.descriptor->load(std::memory_order_relaxed));
  if (s == nullptr || where.tag->load(std::memory_order_relaxed) >> page::tag_owner_shift == 0)
      [[unlikely]]
    report_vanished(block);
  return *s;
}

// Blocks of one slab on their way: bits of one remote word are gathered until another comes.
class delivery {
public:
  explicit delivery(slab& s) : slab_(s) {}

  void add(unsigned index) {
    if (index / 64 != word_) {
      flush();
      word_ = index / 64;
    }
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    if ((bits_ & bit) != 0) [[unlikely]]
      report_double_free(slab_, slab_.block(index));
    bits_ |= bit;
    ++count_;
  }

  void finish() {
    flush();
    publish(slab_.remote, count_);
  }

private:
  void flush() {
    if (bits_ == 0)
      return;
    const std::uint64_t twice = deliver(slab_.remote_bits(), word_, bits_);
    if (twice != 0) [[unlikely]]
      report_double_free(slab_,
                         slab_.block(word_ * 64 + static_cast<unsigned>(std::countr_zero(twice))));
    bits_ = 0;
  }

  slab& slab_;
  unsigned word_ = 0;
  std::uint64_t bits_ = 0;
  std::uint32_t count_ = 0;
};

} // namespace

void outbox::deliver() {
  // First the blocks are sorted into chains by a hash of their slab, and the words that will be
  // written are fetched: they lie in another processor's cache, and so the misses overlap.
  constexpr unsigned chain_count = 64;
  constexpr std::uint8_t end = UINT8_MAX;
  static_assert(capacity < end);
  struct item {
    slab* home;
    std::uint16_t index;
    std::uint8_t next;
  };
  item items[capacity];
  std::uint8_t chains[chain_count];
  for (std::uint8_t& chain : chains)
    chain = end;
  for (unsigned at = 0; at < count_; ++at) {
    slab& s = find_slab(blocks_[at]);
    const unsigned index = block_index(s, blocks_[at]);
    __builtin_prefetch(&s.remote_bits()[index / 64], 1);
    __builtin_prefetch(&s.remote, 1);
    std::uint8_t& chain =
        chains[reinterpret_cast<std::uintptr_t>(&s) / cache_line_bytes % chain_count];
    items[at] = {&s, static_cast<std::uint16_t>(index), chain};
    chain = static_cast<std::uint8_t>(at);
  }
  // Then each chain is unravelled slab by slab; mostly it is one.
  for (std::uint8_t& chain : chains) {
    while (chain != end) {
      slab* const s = items[chain].home;
      delivery to_slab(*s);
      std::uint8_t others = end;
      for (std::uint8_t at = chain; at != end;) {
        const std::uint8_t next = items[at].next;
        if (items[at].home == s) {
          to_slab.add(items[at].index);
        } else {
          items[at].next = others;
          others = at;
        }
        at = next;
      }
      chain = others;
      to_slab.finish();
    }
  }
  count_ = 0;
  bytes_ = 0;
}

} // namespace mete::heap
