// The background thread, `mete-purger`: gives unused memory back while the program is idle.
//
// It exists only while there is something to give back, and by default only in a process that has
// more than one thread that allocates: a program with one thread may rely on being alone (unshare,
// setns, seccomp; Python warns at each fork). There, threads give memory back in their own slow
// paths (front/maintenance.cpp).
//
// Thread safety: all functions. None is called with a lock held.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::front {

// The values of the option `background`.
enum class background_mode { never, beside_threads, always };

// Whether this process may have the thread now.
bool background_allowed();

// True if the thread is there, now or from now on, or soon.
bool ensure_background();

// Bytes came back to slabs. What has come since the last time that all was given back counts in:
void note_freed(std::size_t bytes);
// True if so much lies unused that giving it back is worth a round.
bool much_is_unused();
// All has been given back.
void forget_freed();

// The process has one thread left: the background thread ends at once. Waits for that, but only a
// few milliseconds. True if it ran.
bool stop_background();

// In the child of a fork: the thread does not exist there.
void forget_background_thread();
// In the child of a bare clone(): only when the program has started a thread there, this library
// may. The C library's locks may be as a vanished thread left them, and then starting one hangs.
void await_thread_for_background();

} // namespace mete::front
