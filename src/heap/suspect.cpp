// SPDX-License-Identifier: MIT
#include "heap/suspect.hpp"

#include "heap/registry.hpp"

namespace mete::heap {
namespace {

// Null if the slab goes back to its region at this very moment.
slab* slab_at(const void* block) {
  return static_cast<slab*>(page::locate(block).descriptor->load(std::memory_order_relaxed));
}

std::uint32_t offset_in(const slab& s, const void* block) {
  return static_cast<std::uint32_t>(static_cast<const char*>(block) - s.begin);
}

bool is_on_purged_page(const slab& s, const void* block) {
  return (s.purged_pages >> (offset_in(s, block) >> os::page_shift) & 1) != 0;
}

// In one of the slab's bitmaps. The holder may change them now: but the bit of a live block is 0 in
// each of their values.
bool is_in_slab(slab& s, unsigned index) {
  const std::uint64_t free = s.free_bits()[index / 64];
  const std::uint64_t remote = s.remote_bits()[index / 64].load(std::memory_order_acquire);
  return ((free | remote) >> (index % 64) & 1) != 0;
}

} // namespace

bool looks_live_closely(const void* block) {
  const slab* const s = slab_at(block);
  return s != nullptr && begins_block(s->info().reciprocal, offset_in(*s, block)) &&
         !is_marked_freed(block) && !is_on_purged_page(*s, block);
}

bool settle_suspect(const use_of_block& use, const void* block, bool may_search) {
  const auto forgiven = [&] { return use.is_forgiven != nullptr && use.is_forgiven(); };
  slab* const s = slab_at(block);
  if (s == nullptr) {
    if (forgiven())
      return false;
    misuse(use.after_free, block, "its slab has been given back since the block was freed first");
  }
  unsigned index = 0;
  if (!find_block(*s, block, index)) {
    if (forgiven())
      return false;
    report_bad_block(*s, block, use.wrong);
  }
  if (is_on_purged_page(*s, block) || is_in_slab(*s, index) ||
      (may_search && is_cached_or_under_way(block, s->class_index))) {
    if (forgiven())
      return false;
    report_freed_block(*s, block, use.after_free);
  }
  return true;
}

} // namespace mete::heap
