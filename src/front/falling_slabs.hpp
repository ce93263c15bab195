// When slabs give memory back because of an amount, not of time.
//
// Where there is no background thread nobody comes by after a program's last free. So, while the
// bytes in small blocks fall (base/falling.hpp), slabs are swept by the very calls that free, again
// and again: whenever as much has become free in them as a small part of what is still live. What
// is left behind is then at most about that part.
//
// Thread safety: all functions; they look at sums that are approximate while several threads work.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::front {

// Whether the bytes in small blocks are falling.
bool slabs_are_falling();

// So many bytes are worth a sweep, or the emptying of a cache.
std::size_t shrink_step();

// What lies free in slabs and may be given back, as far as is known.
std::size_t unused_in_slabs();
// It has been given back, but for what has to stay.
void note_settled();

// True if it is time for a sweep, which the caller begins, and there is no background thread.
bool slabs_have_shrunk();

// So many bytes were purged in slabs by it.
void note_purged(std::size_t bytes);

} // namespace mete::front
