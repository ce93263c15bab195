// Wrappers for debugging: types, not build flags, so one allocator can be examined while the
// others run as they do.
//
//   guarded<A>        finds writes outside of blocks and after their end, double and foreign frees,
//                     wrong sizes, leaks; says where the block came from
//   counted<A>        counts: sizes, what lives, the peak, how long calls take
//   locked<A, Mutex>  for several threads, and the other two with it: locked<guarded<arena>>
//
// SPDX-License-Identifier: MIT
#ifndef METE_DEBUG_HPP
#define METE_DEBUG_HPP

#include <mete/counted.hpp>
#include <mete/guarded.hpp>
#include <mete/locked.hpp>

#endif
