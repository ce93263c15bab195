// SPDX-License-Identifier: MIT
#include "page/metadata.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/lock.hpp"
#include "base/units.hpp"
#include "os/memory.hpp"
#include "page/region.hpp"

#include <cstring>

namespace mete::page {
namespace {

constexpr std::size_t step = cache_line_bytes;
constexpr std::size_t chunk_bytes = 256 * KiB;

struct free_piece {
  free_piece* next;
};

struct arena {
  ranked_lock lock{lock_rank::metadata};
  char* bump = nullptr;
  char* bump_end = nullptr;
  std::size_t mapped_bytes = 0;
  std::size_t used_bytes = 0;
  free_piece* free_pieces[metadata_max_bytes / step + 1] = {};
};
constinit arena metadata;

// In the units of a region, with one more on either side that nobody may touch: a last resort,
// where the reserved parts are used up and a limit on address space refuses mappings.
char* chunk_between_guards() {
  constexpr std::size_t units = chunk_bytes / unit_bytes;
  const grant all = allocate_units(units + 2, tag_none, nullptr);
  if (all.begin == nullptr)
    return nullptr;
  if (!os::forbid(all.begin, unit_bytes) ||
      !os::forbid(all.begin + chunk_bytes + unit_bytes, unit_bytes)) {
    release_units(all.begin, units + 2);
    return nullptr;
  }
  return all.zeroed ? all.begin + unit_bytes
                    : static_cast<char*>(std::memset(all.begin + unit_bytes, 0, chunk_bytes));
}

// A zeroed chunk with guards around it. REQUIRES: the lock, which is let go meanwhile, because of
// the lock order.
char* new_chunk() {
  unlock_guard unlocked(metadata.lock);
  char* chunk = extend_metadata(chunk_bytes);
  if (chunk == nullptr)
    chunk = os::map_guarded(chunk_bytes);
  return chunk != nullptr ? chunk : chunk_between_guards();
}

} // namespace

void* allocate_metadata(std::size_t bytes) {
  METE_DEBUG_CHECK(bytes > 0 && bytes <= metadata_max_bytes);
  const std::size_t rounded = align_up(bytes, step);
  lock_guard guard(metadata.lock);
  if (free_piece* piece = metadata.free_pieces[rounded / step]; piece != nullptr) {
    metadata.free_pieces[rounded / step] = piece->next;
    metadata.used_bytes += rounded;
    return std::memset(static_cast<void*>(piece), 0, rounded);
  }
  while (static_cast<std::size_t>(metadata.bump_end - metadata.bump) < rounded) {
    char* const chunk = new_chunk();
    if (chunk == nullptr)
      return nullptr;
    metadata.mapped_bytes += chunk_bytes;
    // Mostly it follows the last one, of which nothing is lost then.
    if (chunk != metadata.bump_end)
      metadata.bump = chunk;
    metadata.bump_end = chunk + chunk_bytes;
  }
  char* const memory = metadata.bump;
  metadata.bump += rounded;
  metadata.used_bytes += rounded;
  return memory;
}

void release_metadata(void* memory, std::size_t bytes) {
  const std::size_t rounded = align_up(bytes, step);
  lock_guard guard(metadata.lock);
  auto* const piece = static_cast<free_piece*>(memory);
  piece->next = metadata.free_pieces[rounded / step];
  metadata.free_pieces[rounded / step] = piece;
  metadata.used_bytes -= rounded;
}

metadata_usage metadata_in_use() {
  lock_guard guard(metadata.lock);
  return {metadata.mapped_bytes, metadata.used_bytes};
}

bool reset_metadata_lock_in_child() {
  return metadata.lock.reset_in_child();
}

} // namespace mete::page
