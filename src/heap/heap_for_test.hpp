// What tests do with heaps.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"

namespace mete::heap {

// A decay round in which nothing is purged: empty slabs are given back.
// REQUIRES: the heap is held.
inline void settle(heap& h) {
  heap::purge_item items[heap::max_sweep_items];
  h.deliver_outbox();
  h.drain_pending();
  h.begin_sweep(h.decay_sweep, true);
  while (h.decay_sweep.under_way())
    h.finish_purge(items, h.sweep_slabs(h.decay_sweep, {64, 64, 64}, items));
}

} // namespace mete::heap
