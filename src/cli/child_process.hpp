// A process that this command starts: in a group of its own, held until it is let go, with what it
// prints caught, and ended with this command whatever happens.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/process.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace mete::cli {

struct child_request {
  std::vector<std::string> program;                               // what is executed, its arguments
  std::string preload;                                            // LD_PRELOAD; empty: unset
  std::vector<std::pair<std::string, std::string>> environment{}; // set in addition
  std::string directory{};                                        // where it runs; empty: here
  std::string input{};                                            // read by it; empty: nothing
};

// "sh -c text", on the C library's malloc.
child_request shell_request(const std::string& text, const child_request& beside);

class child_process {
public:
  // The process exists and waits. Throws command_error.
  explicit child_process(const child_request& request);
  // Ends the group. Whoever has not reaped the process by then leaves that to the kernel.
  ~child_process();
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  // It becomes the program. Throws command_error, after its end, if it cannot.
  void let_go();

  pid_t id() const { return id_; }
  int output_descriptor() const { return output_ended_ ? -1 : output_.number(); } // to poll
  void drain_output();
  const std::string& output() const { return text_; } // both streams; the last MiB or two
  void signal_group(int signal) const { ::kill(-id_, signal); }

private:
  child_request request_;
  descriptor gate_;    // a byte lets it go
  descriptor trouble_; // what kept it from becoming the program
  descriptor output_;
  bool output_ended_ = false;
  std::string text_;
  pid_t id_ = -1;
};

// While it lives, SIGCHLD arrives as something to read.
class child_signals {
public:
  child_signals();
  ~child_signals();
  child_signals(const child_signals&) = delete;
  child_signals& operator=(const child_signals&) = delete;
  int number() const { return number_; }
  void take() const;

private:
  sigset_t before_{};
  int number_ = -1;
};

// Kills everything below this process and waits for its end. Nothing that a child_process started
// gets away, whatever group, session or parent it gave itself.
void end_all_children();

// What a signal handler sets, whatever thread it runs in, to end something early.
using stop_flag = std::atomic<bool>;
static_assert(stop_flag::is_always_lock_free);

// Runs a command to its end and returns how that was: nothing if it exited with 0, else a line.
// `stop` and the timeout (0: none) end it early.
struct finished_command {
  std::string trouble;
  std::string output;
};
finished_command run_command_line(const child_request& request, std::chrono::milliseconds timeout,
                                  const stop_flag& stop);

// "exit status 3" or "killed by signal 11 (Segmentation fault)", of what wait() says.
std::string words_for_end(int wait_status);

// The last lines of what a program printed, on one line.
std::string last_words(const std::string& output);

} // namespace mete::cli
