// Explicit heaps (mete_heap in mete.h): allocate in one, destroy everything in it at once.
//
// One is a heap without a thread or a cache, serialised by a lock. Its big blocks do not lie in its
// slabs, so each has a keeper, a record on the heap's list.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "page/region.hpp"

namespace mete::front {

// If the big block at `block` is an explicit heap's, takes it off that heap's list. Called before
// any big block is freed.
void forget_big(void* block, const page::location& where);

} // namespace mete::front
