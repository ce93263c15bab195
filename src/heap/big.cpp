// SPDX-License-Identifier: MIT
#include "heap/big.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/options.hpp"
#include "heap/mapping.hpp"
#include "heap/size_class.hpp"

#include <algorithm>

namespace mete::heap {
namespace {

constexpr std::size_t max_medium_bytes = 1 * MiB;

// From this size on a block that outgrows its place moves into a mapping, without copying.
constexpr std::size_t min_growth_threshold = 256 * KiB;

// The size at which such a mapping is freed becomes the next threshold, up to a bound: a program
// that grows one block gains memory, one that does so again and again would pay for every page each
// time, and copies to memory that is there instead. (glibc's mmap threshold moves like this:
// mallopt(3).) For larger blocks the pages cost less than copying.
constexpr std::size_t max_growth_threshold = 4 * MiB;
constinit std::atomic<std::size_t> growth_threshold{min_growth_threshold};

// So many mappings at most come of blocks that grow: the process may have 65,530 in all.
constexpr std::size_t most_grown_mappings = 8192;

void note_released_mapping(std::size_t bytes) {
  if (bytes > growth_threshold.load(std::memory_order_relaxed) &&
      bytes < static_cast<std::size_t>(option(options.mapping_threshold)))
    growth_threshold.store(std::min(bytes, max_growth_threshold), std::memory_order_relaxed);
}

enum class kind { medium, large, mapping };

kind kind_at(const page::location& where) {
  if (where.tag == nullptr)
    return kind::mapping;
  return where.tag->load(std::memory_order_relaxed) == page::tag_medium ? kind::medium
                                                                        : kind::large;
}

bool begins_large_run(const void* block, const page::location& where) {
  return where.tag->load(std::memory_order_relaxed) == page::tag_large && block == where.unit_begin;
}

page::grant allocate_as(kind wanted, std::size_t size, std::size_t alignment) {
  switch (wanted) {
  case kind::medium:
    return page::allocate_pages(size, alignment);
  case kind::large:
    return page::allocate_units(divide_up(size, unit_bytes), page::tag_large, nullptr, alignment);
  case kind::mapping:
    break;
  }
  return {allocate_mapping(size, alignment), true};
}

// Without copying, if the block grows and is worth it; nullptr, and nothing changed, if it is not,
// or if that cannot be.
void* move_to_mapping(char* begin, const page::location& where, kind old_kind, std::size_t size) {
  const std::size_t bytes =
      old_kind == kind::medium ? page::medium_bytes(begin) : page::large_run_bytes(begin);
  if (size <= bytes || bytes < min_growth_threshold ||
      bytes < growth_threshold.load(std::memory_order_relaxed) ||
      mappings_in_use().count >= most_grown_mappings)
    return nullptr;
  keeper* const kept = keeper_of(begin, where);
  char* const moved = move_into_mapping(begin, bytes, size);
  if (moved == nullptr)
    return nullptr;
  if (kept != nullptr)
    attach_to_mapping(moved, kept);
  if (old_kind == kind::medium)
    page::release_empty_pages(begin);
  else
    page::release_empty_large_run(begin);
  return moved;
}

} // namespace

page::grant allocate_big(std::size_t size, std::size_t alignment) {
  const auto threshold = static_cast<std::size_t>(option(options.mapping_threshold));
  kind wanted = size <= max_medium_bytes ? kind::medium
                : size < threshold       ? kind::large
                                         : kind::mapping;
  // Between blocks that are aligned more strongly a region would have gaps that nothing else fits.
  if (alignment > huge_page_bytes)
    wanted = kind::mapping;
  page::grant result = allocate_as(wanted, size, alignment);
  if (result.begin == nullptr)
    result = allocate_as(wanted == kind::mapping ? kind::large : kind::mapping, size, alignment);
  return result;
}

void* map_for_growth(std::size_t old_size, std::size_t size) {
  return old_size >= growth_threshold.load(std::memory_order_relaxed) && size > old_size &&
                 mappings_in_use().count < most_grown_mappings
             ? allocate_mapping(size, 1)
             : nullptr;
}

std::size_t big_bytes(void* block, const page::location& where) {
  switch (kind_at(where)) {
  case kind::medium:
    return page::medium_bytes(static_cast<const char*>(block));
  case kind::large:
    return begins_large_run(block, where) ? page::large_run_bytes(static_cast<char*>(block)) : 0;
  case kind::mapping:
    break;
  }
  return mapping_bytes(block);
}

void release_big(void* block, const page::location& where) {
  bool released = false;
  switch (kind_at(where)) {
  case kind::medium:
    released = page::release_pages(static_cast<char*>(block));
    break;
  case kind::large:
    released = page::release_large_run(static_cast<char*>(block));
    break;
  case kind::mapping: {
    const std::size_t bytes = release_mapping(block);
    note_released_mapping(bytes);
    released = bytes != 0;
    break;
  }
  }
  if (!released)
    report_no_block("invalid free", block);
}

void* resize_big(void* block, const page::location& where, std::size_t size) {
  auto* const begin = static_cast<char*>(block);
  const auto threshold = static_cast<std::size_t>(option(options.mapping_threshold));
  const kind old_kind = kind_at(where);
  switch (old_kind) {
  case kind::medium:
    if (size > max_slab_block_bytes && size < threshold && page::resize_pages(begin, size))
      return block;
    break;
  case kind::large:
    if (size >= min_growth_threshold && size < threshold && page::resize_large_run(begin, size))
      return block;
    break;
  case kind::mapping:
    return size >= min_growth_threshold ? resize_mapping(begin, size) : nullptr;
  }
  return move_to_mapping(begin, where, old_kind, size);
}

keeper* keeper_of(const void* block, const page::location& where) {
  void* kept = nullptr;
  switch (kind_at(where)) {
  case kind::medium:
    kept = page::medium_attachment(static_cast<const char*>(block));
    break;
  case kind::large:
    kept = where.descriptor->load(std::memory_order_relaxed);
    break;
  case kind::mapping:
    kept = mapping_attachment(block);
    break;
  }
  return static_cast<keeper*>(kept);
}

void set_keeper(const void* block, const page::location& where, keeper* kept) {
  switch (kind_at(where)) {
  case kind::medium:
    return page::attach_to_medium(static_cast<const char*>(block), kept);
  case kind::large:
    return where.descriptor->store(kept, std::memory_order_relaxed);
  case kind::mapping:
    return attach_to_mapping(block, kept);
  }
}

void report_no_block(const char* what, const void* address) {
  const page::location where = page::locate(address);
  const char* known = "mete did not allocate it";
  if (where.tag != nullptr) {
    switch (where.tag->load(std::memory_order_relaxed)) {
    case page::tag_none:
      known = "nothing is allocated there now; it was freed before, or never allocated";
      break;
    case page::tag_medium:
      known = "no live block begins there; it was freed before, or the pointer leads into a block";
      break;
    default:
      known = "it points into a large block, not at its beginning";
    }
  }
  misuse(what, address, known);
}

} // namespace mete::heap
