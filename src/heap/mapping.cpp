// SPDX-License-Identifier: MIT
#include "heap/mapping.hpp"

#include "base/bits.hpp"
#include "base/futex.hpp"
#include "base/lock.hpp"
#include "base/units.hpp"
#include "os/memory.hpp"
#include "os/thread.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

#include <atomic>
#include <cstdint>
#include <new>

namespace mete::heap {
namespace {

struct entry {
  char* begin; // nullptr: free
  std::size_t bytes;
  void* attachment;
};

// What lies at the beginning of the table's memory.
struct alignas(entry) entries_header {
  std::size_t capacity; // a power of two
  entry* entries() { return reinterpret_cast<entry*>(this + 1); }
};

// A signal handler that interrupts a change looks for other blocks all the same, without the lock.
// So each state in between shows them: what is written before a call of this, the handler sees.
void let_handlers_see() {
  std::atomic_signal_fence(std::memory_order_release);
}

void write(entry& at, const entry& written) {
  at.bytes = written.bytes;
  at.attachment = written.attachment;
  let_handlers_see();
  at.begin = written.begin;
}

struct table {
  ranked_lock lock{lock_rank::large};
  entries_header* current = nullptr;
  std::size_t count = 0;
  std::size_t bytes = 0;

  static std::size_t home_of(const void* begin, std::size_t capacity) {
    const auto page = reinterpret_cast<std::uintptr_t>(begin) >> 12;
    return static_cast<std::size_t>(page * 0x9e3779b97f4a7c15u >> 20) & (capacity - 1);
  }

  // The entry for `begin`, or nullptr.
  entry* find(const void* begin) const {
    entries_header* const header = current;
    if (header == nullptr)
      return nullptr;
    entry* const entries = header->entries();
    for (std::size_t at = home_of(begin, header->capacity); entries[at].begin != nullptr;
         at = (at + 1) & (header->capacity - 1))
      if (entries[at].begin == begin)
        return &entries[at];
    return nullptr;
  }

  // REQUIRES: there is room.
  static void insert(entries_header& header, const entry& added) {
    entry* const entries = header.entries();
    std::size_t at = home_of(added.begin, header.capacity);
    while (entries[at].begin != nullptr)
      at = (at + 1) & (header.capacity - 1);
    write(entries[at], added);
  }

  // REQUIRES: there is room.
  void add(char* begin, std::size_t size) {
    insert(*current, {begin, size, nullptr});
    ++count;
    bytes += size;
  }

  static std::size_t memory_bytes(std::size_t capacity) {
    return align_up(sizeof(entries_header) + capacity * sizeof(entry), os::page_bytes);
  }

  // At most half full, so that probes stay short.
  bool make_room() {
    const std::size_t old_capacity = current == nullptr ? 0 : current->capacity;
    if (2 * (count + 1) <= old_capacity)
      return true;
    const std::size_t capacity = old_capacity == 0 ? os::page_bytes / 32 : 2 * old_capacity;
    char* const memory = os::map_guarded(memory_bytes(capacity));
    if (memory == nullptr)
      return false;
    entries_header* const old = current;
    auto* const grown = new (memory) entries_header{capacity};
    for (std::size_t at = 0; at < old_capacity; ++at)
      if (old->entries()[at].begin != nullptr)
        insert(*grown, old->entries()[at]);
    let_handlers_see();
    current = grown;
    let_handlers_see();
    if (old != nullptr)
      os::release_guarded(reinterpret_cast<char*>(old), memory_bytes(old_capacity));
    return true;
  }

  // What moves is there twice for a moment, and found where it comes first.
  void erase(entry* erased) {
    entry* const entries = current->entries();
    const std::size_t last = current->capacity - 1;
    std::size_t hole = static_cast<std::size_t>(erased - entries);
    for (std::size_t at = (hole + 1) & last; entries[at].begin != nullptr; at = (at + 1) & last) {
      // An entry whose home lies cyclically in (hole, at] stays reachable where it is.
      const std::size_t home = home_of(entries[at].begin, current->capacity);
      if (((at - home) & last) < ((at - hole) & last))
        continue;
      write(entries[hole], entries[at]);
      let_handlers_see();
      hole = at;
    }
    entries[hole].begin = nullptr;
  }
};

constinit table mappings;

// Holds the lock, unless a signal handler looks that interrupted who holds it. Without regard to
// the order of locks: whoever holds this one waits for no other.
class [[nodiscard]] looking_scope {
public:
  looking_scope() : locked_(!mappings.lock.is_held_by_caller()) {
    for (unsigned spin = 0; locked_ && !mappings.lock.try_lock(); ++spin)
      spin < 200 ? spin_pause() : os::rest_briefly();
  }
  ~looking_scope() {
    if (locked_)
      mappings.lock.unlock();
  }
  looking_scope(const looking_scope&) = delete;
  looking_scope& operator=(const looking_scope&) = delete;

private:
  bool locked_;
};

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
  const looking_scope looking;
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
  table::insert(*mappings.current, changed);
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
  const looking_scope looking;
  return mappings.find(begin)->attachment;
}

void attach_to_mapping(const void* begin, void* attachment) {
  lock_guard guard(mappings.lock);
  mappings.find(begin)->attachment = attachment;
}

mapping_usage mappings_in_use() {
  const looking_scope looking;
  return {mappings.count, mappings.bytes};
}

bool reset_mappings_lock_in_child() {
  return mappings.lock.reset_in_child();
}

} // namespace mete::heap
