// SPDX-License-Identifier: MIT
#include "heap/outbox.hpp"

#include "heap/heap.hpp"

#include <bit>
#include <cstring>

namespace mete::heap {
namespace {

[[noreturn, gnu::cold]] void report_vanished(const void* block) {
  misuse("double free", block, "its slab has been given back since the block was freed first");
}

// Blocks of one word of a slab's bitmaps on their way. The slab's descriptor is aligned to cache
// lines, so the number of the word fits below its address.
static_assert(cache_line_bytes >= max_slab_words);
struct delivery {
  std::uintptr_t slab_and_word;
  std::uint64_t bits;
};

// Where a block belongs that was freed some time ago. The descriptor is in another processor's
// cache: it is not read where that can be avoided, but fetched for writing, with the remote word.
delivery find(const void* block) {
  const page::location where = page::locate(block);
  auto* const s = static_cast<slab*>(where.descriptor->load(std::memory_order_relaxed));
  const std::uint32_t tag = where.tag->load(std::memory_order_relaxed);
  if (s == nullptr || tag >> page::tag_owner_shift == 0) [[unlikely]]
    report_vanished(block);
  __builtin_prefetch(s, 1);
  const size_class& info = size_classes[class_of_tag(tag)];
  const char* const begin = info.units == 1 ? where.unit_begin : s->begin;
  const auto offset = static_cast<std::uint64_t>(static_cast<const char*>(block) - begin);
  const auto index = static_cast<unsigned>(offset * info.reciprocal >> 32);
  if (std::uint64_t{index} * info.block_bytes != offset) [[unlikely]]
    report_bad_block(*s, block, "invalid free");
  __builtin_prefetch(&s->remote_bits(info)[index / 64], 1);
  return {reinterpret_cast<std::uintptr_t>(s) + index / 64, std::uint64_t{1} << (index % 64)};
}

void deliver_word(const delivery& each) {
  const std::uintptr_t word = each.slab_and_word % max_slab_words;
  slab& s = *reinterpret_cast<slab*>(each.slab_and_word - word);
  const auto block = [&](unsigned bit) { return s.block(static_cast<unsigned>(word) * 64 + bit); };
  const unsigned last = log2_floor(each.bits);
  if (word * 64 + last >= s.frontier()) [[unlikely]]
    report_bad_block(s, block(last), "invalid free");
  const std::uint64_t twice = deliver(s.remote_bits(), word, each.bits);
  if (twice != 0) [[unlikely]]
    report_double_free(s, block(static_cast<unsigned>(std::countr_zero(twice))));
  publish(s.remote, count_bits(each.bits));
}

// Deliveries by their word: a hash table of their numbers, with open addressing. It is on the
// stack, of which a thread may have little: so it holds as many words as misses can overlap, not as
// many as there are blocks.
class gathering {
public:
  bool full() const { return count_ == capacity; }

  void add(const delivery& one, const void* block) {
    unsigned slot = static_cast<std::uint32_t>(one.slab_and_word) * scatter >> shift;
    while (slots_[slot] != 0 && deliveries_[slots_[slot] - 1u].slab_and_word != one.slab_and_word)
      slot = (slot + 1) % slot_count;
    if (slots_[slot] == 0) {
      deliveries_[count_] = {one.slab_and_word, 0};
      slots_[slot] = static_cast<std::uint8_t>(++count_);
    }
    std::uint64_t& bits = deliveries_[slots_[slot] - 1u].bits;
    if ((bits & one.bits) != 0) [[unlikely]]
      report_double_free(slab_of(block), block);
    bits |= one.bits;
  }

  void deliver_all() {
    for (unsigned at = 0; at < count_; ++at)
      deliver_word(deliveries_[at]);
    count_ = 0;
    std::memset(slots_, 0, sizeof slots_);
  }

private:
  static constexpr unsigned capacity = 128;
  static constexpr unsigned slot_count = 2 * capacity;
  static constexpr unsigned shift = 32 - std::countr_zero(slot_count);
  static constexpr std::uint32_t scatter = 0x9e3779b1; // 2^32 by the golden ratio (D. Knuth)
  static_assert(is_power_of_two(slot_count) && capacity <= UINT8_MAX);

  unsigned count_ = 0;
  std::uint8_t slots_[slot_count] = {}; // 0: free, else the number of a delivery, plus 1
  delivery deliveries_[capacity];
};

} // namespace

void outbox::deliver() {
  // Many misses first, so that they overlap; then what has been fetched is written.
  gathering gathered;
  for (unsigned at = 0; at < count_; ++at) {
    if (gathered.full())
      gathered.deliver_all();
    gathered.add(find(blocks_[at]), blocks_[at]);
  }
  gathered.deliver_all();
  count_ = 0;
  bytes_ = 0;
}

} // namespace mete::heap
