// Big blocks: everything above the largest size class, or aligned more strongly than its blocks.
//
//   medium    up to 1 MiB     whole pages inside a region (page/medium.cpp)
//   large     up to 32 MiB    whole units inside a region: dirty memory is reused, decays, and
//                             grows in place where the neighbour is free
//   mapping   beyond          a mapping of its own: grows by mremap without copying
//
// Alignment makes no difference up to that of a region, 2 MiB; beyond, a block is a mapping.
//
// If one kind is refused by the OS, the next one is tried: under a limit on address space a region
// may still have room when no mapping can be made, and the other way round.
//
// Each big block can have a keeper: the record by which an explicit heap finds it again.
//
// Thread safety: all functions; a block itself is its owner's.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "page/region.hpp"

#include <cstddef>

namespace mete::heap {

// The record of a big block in an explicit heap (front/explicit_heap.cpp).
struct keeper;

// Memory of at least `size` bytes; `begin` is nullptr if memory is out.
page::grant allocate_big(std::size_t size, std::size_t alignment);

// A place for a block of `old_size` that has outgrown its own: a mapping, because what grew once
// will grow again, and mappings do so without copying and without leaving dirty memory behind.
// nullptr if it is not worth that or does not grow, or if the OS refuses: then allocate as ever.
void* map_for_growth(std::size_t old_size, std::size_t size);

// The bytes of the live big block that begins at `block`; 0 if none does.
// REQUIRES: `where` is locate(block).
std::size_t big_bytes(void* block, const page::location& where);

// Frees it; reports an invalid or a second free.
void release_big(void* block, const page::location& where);

// In place, or moved without copying (into a mapping, or a mapping elsewhere); nullptr, and nothing
// changed, if that cannot be.
void* resize_big(void* block, const page::location& where, std::size_t size);

keeper* keeper_of(const void* block, const page::location& where);
void set_keeper(const void* block, const page::location& where, keeper* kept);

// What is known about an address that is no live block, and abort. `what`: "invalid free", ...
[[noreturn, gnu::cold]] void report_no_block(const char* what, const void* address);

} // namespace mete::heap
