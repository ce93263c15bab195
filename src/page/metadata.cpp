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

// A zeroed chunk. Where a limit on address space refuses a mapping, the region may have room, which
// is reserved already. REQUIRES: the lock, which is let go for that, because of the lock order.
char* map_chunk() {
  if (char* const chunk = os::map(chunk_bytes, os::page_bytes); chunk != nullptr)
    return chunk;
  unlock_guard unlocked(metadata.lock);
  const grant units = allocate_units(chunk_bytes / unit_bytes, tag_none, nullptr);
  if (units.begin != nullptr && !units.zeroed)
    std::memset(units.begin, 0, chunk_bytes);
  return units.begin;
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
  if (static_cast<std::size_t>(metadata.bump_end - metadata.bump) < rounded) {
    char* const chunk = map_chunk();
    if (chunk == nullptr)
      return nullptr;
    metadata.mapped_bytes += chunk_bytes;
    // The kernel mostly places mappings side by side, downwards: then nothing of the last is lost.
    if (chunk + chunk_bytes != metadata.bump)
      metadata.bump_end = chunk + chunk_bytes;
    metadata.bump = chunk;
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

void lock_metadata_for_fork() {
  metadata.lock.lock();
}

void unlock_metadata_after_fork(bool in_child) {
  if (in_child)
    metadata.lock.reset_after_fork();
  else
    metadata.lock.unlock();
}

} // namespace mete::page
