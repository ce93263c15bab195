// What fork() is to this library: handlers, the C library's list of streams, and a page by which a
// child knows that it is one.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

namespace mete::os {

// As pthread_atfork. May allocate.
bool register_fork_handlers(void (*prepare)(), void (*parent)(), void (*child)());

// True if the calling thread is the only one of the process. A C library that cannot tell (before
// glibc 2.32) counts as having more.
bool is_single_threaded();

// The lock of stdio's list of streams, which is recursive. fork() itself takes it after all
// handlers, if the process has threads; threads that flush or close streams hold it while they
// allocate. Without effect where the C library does not offer it.
void lock_streams();
void unlock_streams();
void reset_streams_in_child();

// A word, at first 1, that is 0 in every child of this process, however it came to be (also by a
// bare clone(), for which no handler runs). nullptr if the system refuses (before Linux 4.14).
std::atomic<std::uint32_t>* map_word_wiped_in_child();

} // namespace mete::os
