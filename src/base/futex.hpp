// Sleeping on a 32-bit word: the two futex(2) calls that locks are made of. Both preserve errno,
// because free() must. Where a sandbox refuses futex, waiting becomes sleeping for a moment, and
// where it refuses that as well, nothing: whoever waits looks again.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

namespace mete {

// Sleeps while `word` holds `expected`; may return early.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected);
// As above, for at most `timeout_ms`. False if the system lets the thread neither wait nor sleep.
bool futex_wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                    std::uint32_t timeout_ms);
// Wakes up to `count` sleepers.
void futex_wake(const std::atomic<std::uint32_t>& word, int count);

// Tells the processor that this is a loop that waits.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

} // namespace mete
