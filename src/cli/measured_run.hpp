// One run of a program, measured from outside: a fresh process, followed to its end.
//
// The process is watched with ptrace, but only stops on its way out, where its mappings and its
// peak are read while they are still there; the pause is not counted. Peak memory is the process's
// own (VmHWM), or that of a process it has waited for. wait4() alone would not do: what it calls
// the maximum includes this command's size before the exec.
//
// A server has a client: a command that starts when the server is ready, and with whose end the
// server is asked to end (SIGTERM). The time is then the client's, all else the server's.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/child_process.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <regex>
#include <string>
#include <vector>

namespace mete::cli {

struct run_request {
  child_request program;
  std::chrono::milliseconds timeout{0}; // 0: none
  std::string client{};                 // for the shell; empty: it is no server
  // When the server is ready: when it has printed this, or else listens on that port; 0: any.
  std::optional<std::regex> ready_line{};
  int ready_port = 0;
};

// Resident memory at one moment. `lazily_freed` is given back already, but the kernel has not
// taken it yet (MADV_FREE); it is read more rarely, and stands until it is read again.
struct memory_sample {
  double second = 0;
  std::size_t resident_bytes = 0;
  std::size_t lazily_freed_bytes = 0;
};

enum class run_end {
  exited, // a server: because it was asked to
  killed,
  timed_out,
  interrupted,
  never_ready,         // the server
  ended_before_client, // likewise
  client_failed,
  would_not_stop // though it was asked to
};

struct measured_run {
  run_end end = run_end::exited;
  int wait_status = 0; // the program's, or the client's that failed
  double wall_seconds = 0;
  double user_seconds = 0;
  double system_seconds = 0;
  std::size_t peak_bytes = 0; // resident memory
  long page_faults = 0;
  long context_switches = 0;
  int mappings = 0;        // at the end
  std::string malloc_file; // that its malloc came from; empty if that cannot be told
  bool preloaded_was_mapped = false;
  std::vector<memory_sample> memory;
  std::string output;        // both streams, the last MiB
  std::string client_output; // likewise
};

// Runs it to its end. Whoever sets `stop` ends it early. What was started and is still there then
// is ended too. Throws command_error if it cannot be started or watched.
measured_run run_measured(const run_request& request, const stop_flag& stop);

} // namespace mete::cli
