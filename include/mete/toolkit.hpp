// All headers of the toolkit. docs/toolkit.md says what there is.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TOOLKIT_HPP
#define METE_TOOLKIT_HPP

#include <mete/adapt.hpp>
#include <mete/allocator.hpp>
#include <mete/arena.hpp>
#include <mete/bins.hpp>
#include <mete/buddy.hpp>
#include <mete/compose.hpp>
#include <mete/connection_memory.hpp>
#include <mete/counted.hpp>
#include <mete/debug.hpp>
#include <mete/error.hpp>
#include <mete/frame.hpp>
#include <mete/game_memory.hpp>
#include <mete/guarded.hpp>
#include <mete/locked.hpp>
#include <mete/object_pool.hpp>
#include <mete/offset_heap.hpp>
#include <mete/page_source.hpp>
#include <mete/pool.hpp>
#include <mete/region_heap.hpp>
#include <mete/ring.hpp>
#include <mete/router.hpp>
#include <mete/shared_memory_source.hpp>
#include <mete/shared_pool.hpp>
#include <mete/slab_cache.hpp>
#include <mete/source.hpp>
#include <mete/stack.hpp>

#endif
