// Is an address the beginning of a live block? What every free, realloc and malloc_usable_size of
// an address in a slab asks first.
//
// The answer is nearly always yes, and by the address and the block's mark alone
// (heap/freed_mark.hpp). What is left is a suspect, which is looked at closely: a pointer into a
// block, one that was never handed out, a block that is free already, or a live block that happens
// to bear the mark.
//
// A suspect is settled with certainty. A block that is free lies in its slab's bitmaps, on a purged
// page, in some thread's cache, or in some outbox; a live block lies in none of them for as long as
// the call that asks lasts, because the caller holds it. So each place may be read while others
// change it: what is found there was there at some time during the call.
//
// Thread safety: all functions.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/freed_mark.hpp"
#include "heap/slab.hpp"
#include "heap/thread_access.hpp"

namespace mete::heap {

// What the caller does with the address, as a report names it.
struct use_of_block {
  const char* wrong;      // of an address where no block begins
  const char* after_free; // of a block that is free
  // Whether that is nobody's fault who could be told, and nothing is to be done; asked last.
  bool (*is_forgiven)() = nullptr;
};

// Whether address, tag and mark alone say that a live block begins there; so never for slabs of
// several units, and for slabs with purged pages. REQUIRES: `tag` is of the block's unit, and has
// an owner.
inline bool looks_live(const void* block, std::uint32_t tag, std::uintptr_t mark = freed_mark()) {
  constexpr std::uint32_t bin_bits = (tag_class_end - 1) & ~tag_shared;
  return thread_access().begins_block(tag & bin_bits, block) && !is_marked_freed(block, mark);
}

// The same for all slabs, by what is known of the block's own.
bool looks_live_closely(const void* block);

// True if the suspect is a live block after all, false if it is none and that is forgiven;
// otherwise reports it, and ends the process. `may_search`: caches and outboxes, too; what lies in
// one is believed to be live otherwise. REQUIRES: the unit's tag has an owner; no lock is held, the
// thread is in no heap, and inside of the gate (front/gate.hpp) if it may search.
[[gnu::cold, gnu::noinline]] bool settle_suspect(const use_of_block& use, const void* block,
                                                 bool may_search);

} // namespace mete::heap
