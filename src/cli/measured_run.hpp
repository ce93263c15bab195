// One run of a program, measured from outside: a fresh process, followed to its end.
//
// The process is watched with ptrace, but only stops on its way out, where its mappings and its
// peak are read while they are still there; the pause is not counted. Peak memory is the process's
// own (VmHWM), or that of a process it has waited for. wait4() alone would not do: what it calls
// the maximum includes this command's size before the exec.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace mete::cli {

struct run_request {
  std::vector<std::string> program;     // what is executed, then its arguments
  std::string library;                  // preloaded; empty: nothing is
  std::chrono::milliseconds timeout{0}; // 0: none
};

// Resident memory at one moment. `lazily_freed` is given back already, but the kernel has not
// taken it yet (MADV_FREE); it is read more rarely, and stands until it is read again.
struct memory_sample {
  double second = 0;
  std::size_t resident_bytes = 0;
  std::size_t lazily_freed_bytes = 0;
};

enum class run_end { exited, killed, timed_out, interrupted };

struct measured_run {
  run_end end = run_end::exited;
  int status = 0; // exit status, or the signal
  double wall_seconds = 0;
  double user_seconds = 0;
  double system_seconds = 0;
  std::size_t peak_bytes = 0; // resident memory
  long page_faults = 0;
  long context_switches = 0;
  int mappings = 0;                    // at the end
  std::vector<std::string> allocators; // allocator libraries in it at the end, by path
  bool preloaded_was_mapped = false;
  std::vector<memory_sample> memory;
  std::string output; // both streams, the last MiB
};

// Runs it to its end. Whoever sets `*stop` ends it early, with everything in its process group.
// Throws command_error if it cannot be started or watched.
measured_run run_measured(const run_request& request, const volatile int* stop);

} // namespace mete::cli
