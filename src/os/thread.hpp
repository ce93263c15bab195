// Threads: the end of each, and one of our own.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace mete::os {

// `handler` runs in each thread that armed, when it ends, in the last round of pthread key
// destructors, or nearly so: others may still free memory afterwards. Call once.
bool register_thread_exit(void (*handler)());
// May allocate. False if the system refuses: then the handler will not run in this thread.
bool arm_thread_exit();

// Give the processor to others for some 50 microseconds, or longer. Both preserve errno.
void rest_briefly();
void rest_for(std::uint32_t milliseconds);

// Whether `code` is a part of the dynamic loader. It frees memory for the C library, which holds a
// lock then that starting a thread takes, too. O(segments of the loader), without a lock.
bool is_loader_code(const void* code);

// Whether `code` is a part of the C library. False where that cannot be told: in a static program,
// and before glibc 2.35. Without a lock, so also in the child of a fork.
bool is_c_library_code(const void* code);

// Starts a detached thread with all signals blocked. May allocate. False if the process may not
// have one.
bool start_thread(void (*run)(), const char* name);

} // namespace mete::os
