// SPDX-License-Identifier: MIT
#include "heap/mapping.hpp"

#include "base/bits.hpp"
#include "base/lock.hpp"
#include "base/units.hpp"
#include "os/memory.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

#include <atomic>
#include <cstdint>

namespace mete::heap {
namespace {

struct entry {
  char* begin; // nullptr: free
  std::size_t bytes;
  void* attachment;
};

struct table {
  ranked_lock lock{lock_rank::large};
  entry* entries = nullptr;
  std::size_t capacity = 0; // a power of two, or 0
  std::size_t count = 0;
  std::size_t bytes = 0;

  std::size_t home_of(const void* begin) const {
    const auto page = reinterpret_cast<std::uintptr_t>(begin) >> 12;
    return static_cast<std::size_t>(page * 0x9e3779b97f4a7c15u >> 20) & (capacity - 1);
  }

  // The entry for `begin`, or nullptr.
  entry* find(const void* begin) const {
    if (capacity == 0)
      return nullptr;
    for (std::size_t at = home_of(begin); entries[at].begin != nullptr;
         at = (at + 1) & (capacity - 1))
      if (entries[at].begin == begin)
        return &entries[at];
    return nullptr;
  }

  // REQUIRES: there is room.
  void insert(const entry& added) {
    std::size_t at = home_of(added.begin);
    while (entries[at].begin != nullptr)
      at = (at + 1) & (capacity - 1);
    entries[at] = added;
  }

  // REQUIRES: there is room.
  void add(char* begin, std::size_t size) {
    insert({begin, size, nullptr});
    ++count;
    bytes += size;
  }

  // At most half full, so that probes stay short.
  bool make_room() {
    if (2 * (count + 1) <= capacity)
      return true;
    const std::size_t old_capacity = capacity;
    entry* const old_entries = entries;
    const std::size_t wanted = capacity == 0 ? os::page_bytes / 32 : 2 * capacity;
    char* const memory = os::map_guarded(align_up(wanted * sizeof(entry), os::page_bytes));
    if (memory == nullptr)
      return false;
    entries = reinterpret_cast<entry*>(memory);
    capacity = wanted;
    for (std::size_t at = 0; at < old_capacity; ++at)
      if (old_entries[at].begin != nullptr)
        insert(old_entries[at]);
    if (old_entries != nullptr)
      os::release_guarded(reinterpret_cast<char*>(old_entries),
                          align_up(old_capacity * sizeof(entry), os::page_bytes));
    return true;
  }

  void erase(entry* erased) {
    std::size_t hole = static_cast<std::size_t>(erased - entries);
    for (std::size_t at = (hole + 1) & (capacity - 1); entries[at].begin != nullptr;
         at = (at + 1) & (capacity - 1)) {
      // An entry whose home lies cyclically in (hole, at] stays reachable where it is.
      const std::size_t home = home_of(entries[at].begin);
      if (((at - home) & (capacity - 1)) < ((at - hole) & (capacity - 1)))
        continue;
      entries[hole] = entries[at];
      hole = at;
    }
    entries[hole] = {};
  }
};

constinit table mappings;
constinit std::atomic<const void*> first_thread{nullptr};
constinit std::atomic<bool> prepared{false};

// Before the first mapping: from then on mappings may run out, and may be placed anywhere.
[[gnu::noinline]] void prepare_for_mappings() {
  if (prepared.exchange(true, std::memory_order_relaxed))
    return;
  page::prepare_first_region();
  if (void* const piece = page::allocate_metadata(1); piece != nullptr)
    page::release_metadata(piece, 1);
  if (const void* const state = first_thread.load(std::memory_order_relaxed); state != nullptr)
    os::guard_from_below(state);
}

} // namespace

void remember_first_thread(const void* state) {
  first_thread.store(state, std::memory_order_relaxed);
}

char* allocate_mapping(std::size_t bytes, std::size_t alignment) {
  if (!prepared.load(std::memory_order_relaxed)) [[unlikely]]
    prepare_for_mappings();
  const std::size_t rounded = align_up(bytes, os::page_bytes);
  char* const begin = os::map(rounded, alignment < os::page_bytes ? os::page_bytes : alignment);
  if (begin == nullptr)
    return nullptr;
  {
    lock_guard guard(mappings.lock);
    if (mappings.make_room()) {
      mappings.add(begin, rounded);
      return begin;
    }
  }
  os::release(begin, rounded);
  return nullptr;
}

std::size_t mapping_bytes(const void* begin) {
  lock_guard guard(mappings.lock);
  const entry* const found = mappings.find(begin);
  return found == nullptr ? 0 : found->bytes;
}

std::size_t release_mapping(void* begin) {
  std::size_t bytes = 0;
  {
    lock_guard guard(mappings.lock);
    entry* const found = mappings.find(begin);
    if (found == nullptr)
      return 0;
    bytes = found->bytes;
    mappings.erase(found);
    --mappings.count;
    mappings.bytes -= bytes;
  }
  // Out of mappings to split into: its memory can go all the same.
  if (!os::release(static_cast<char*>(begin), bytes))
    (void)os::purge(static_cast<char*>(begin), bytes);
  return bytes;
}

char* resize_mapping(char* begin, std::size_t bytes) {
  const std::size_t rounded = align_up(bytes, os::page_bytes);
  // Under the lock: between the move and the table's knowing, another thread could be given the
  // old place.
  lock_guard guard(mappings.lock);
  entry* const found = mappings.find(begin);
  if (found->bytes == rounded)
    return begin;
  char* const moved = os::remap(begin, found->bytes, rounded);
  if (moved == nullptr)
    return nullptr;
  const entry changed{moved, rounded, found->attachment};
  mappings.bytes += rounded - found->bytes;
  mappings.erase(found);
  mappings.insert(changed);
  return moved;
}

char* move_into_mapping(char* from, std::size_t from_bytes, std::size_t bytes) {
  if (!prepared.load(std::memory_order_relaxed)) [[unlikely]]
    prepare_for_mappings();
  const std::size_t rounded = align_up(bytes, os::page_bytes);
  lock_guard guard(mappings.lock); // as in resize_mapping()
  if (!mappings.make_room())
    return nullptr;
  char* const moved = os::move_out(from, from_bytes, rounded);
  if (moved != nullptr)
    mappings.add(moved, rounded);
  return moved;
}

void* mapping_attachment(const void* begin) {
  lock_guard guard(mappings.lock);
  return mappings.find(begin)->attachment;
}

void attach_to_mapping(const void* begin, void* attachment) {
  lock_guard guard(mappings.lock);
  mappings.find(begin)->attachment = attachment;
}

mapping_usage mappings_in_use() {
  lock_guard guard(mappings.lock);
  return {mappings.count, mappings.bytes};
}

bool reset_mappings_lock_in_child() {
  return mappings.lock.reset_in_child();
}

} // namespace mete::heap
