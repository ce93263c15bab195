// Threads: the end of each, and one of our own.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
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

// The code that frees what belongs to stacks of the C library: the dynamic loader's, or in a static
// program the one function. It does so while the lock is held that starting a thread takes, too.
// Empty until it was looked for.
struct code_range {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
  bool contains(const void* code) const {
    return reinterpret_cast<std::uintptr_t>(code) - begin < bytes;
  }
};
[[gnu::visibility("hidden")]] extern constinit code_range loader_code;
void find_loader_code(); // any number of times, with the same result

// Whether `code` is a part of the C library. False where that cannot be told: in a static program,
// and before glibc 2.35. Without a lock, so also in the child of a fork.
bool is_c_library_code(const void* code);

// Starts a detached thread with all signals blocked. May allocate. False if the process may not
// have one.
bool start_thread(void (*run)(), const char* name);

} // namespace mete::os
