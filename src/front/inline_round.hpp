// Decay rounds without the background thread: by the threads of the program, a piece at each slow
// path, so that no single call takes long.
//
// A round begins when it is time, as the background thread's do, or because memory falls
// (front/falling_slabs.hpp): then it settles, which is to take all that is free in slabs.
//
// Thread safety: all functions. REQUIRES, all of them: no lock is held.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

namespace mete::front {

// While it is true, each slow path is to call continue_inline_round().
extern constinit std::atomic<bool> inline_round_under_way;

// Begins a round if one is due, and does a piece of one that is under way.
void continue_inline_round(std::uint32_t now_ms);

} // namespace mete::front
