// Facts about the machine and the limits of this process. All preserve errno, none allocates.
//
// Most are found out once, by calls that a sandbox may forbid later: so all of them when the
// process starts (docs/system-calls.md).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace mete::os {

// Finds out all that follows, as far as it is not known yet, but for the time.
void read_system_facts();

// Bytes of physical memory, of the whole machine.
std::size_t physical_memory_bytes();

// The memory that this process may use: its cgroup's limit (version 1 or 2, the tightest on the way
// up), or the machine's memory. Reads files.
std::size_t memory_limit_bytes();

// Processors that this thread may run on, at the first call; at least 1.
unsigned usable_cpus();

// RLIMIT_AS less what is mapped already, at the first call; SIZE_MAX when there is no limit.
std::size_t address_space_left_bytes();

// Milliseconds of a clock that never goes back, wraps after 49 days and is a few milliseconds
// coarse; read without a system call.
std::uint32_t coarse_now_ms();

// Milliseconds for which the calling thread has run.
std::uint32_t thread_cpu_ms();

} // namespace mete::os
