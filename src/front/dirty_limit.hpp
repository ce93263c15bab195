// How much memory may lie in free runs: an amount that is kept at each slow path, apart from decay,
// which goes by time.
//
// Thread safety: all functions. REQUIRES, all of them: no lock is held.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::front {

// Near the limit of the cgroup or the machine memory goes back at once, not after a time.
void relieve_pressure();

// Gives back the oldest dirty runs above the limit, at most `budget` bytes of them. `allocated`:
// memory was allocated, not freed. (What is freed can seem to be a new peak, because runs are
// rounded up on their way back.)
void purge_excess(bool allocated, std::size_t budget);

} // namespace mete::front
