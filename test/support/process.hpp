// Looking at processes from the outside: children whose end and last words are captured, resident
// memory, threads. Nothing here allocates in the process under test, so that the measurements are
// of the test and not of the tool.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "check.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

inline void sleep_ms(long milliseconds) {
  timespec rest{milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
  }
}

inline double seconds_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Reads a file of /proc or /sys whole, ended with a zero; returns its length, 0 on failure.
inline std::size_t read_text(const char* path, char* text, std::size_t capacity) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  std::size_t length = 0;
  if (file >= 0) {
    ssize_t got;
    while (length + 1 < capacity && (got = read(file, text + length, capacity - 1 - length)) > 0) {
      length += static_cast<std::size_t>(got);
    }
    close(file);
  }
  text[length] = '\0';
  return length;
}

// The number that follows `key` in a file of "key: number" lines; -1 when it is not there.
inline long long read_figure(const char* path, const char* key) {
  char text[8192];
  read_text(path, text, sizeof text);
  const char* found = std::strstr(text, key);
  return found == nullptr ? -1 : std::strtoll(found + std::strlen(key), nullptr, 10);
}

// Resident bytes. From smaps_rollup, which counts pages: the counter behind statm lags by up to
// some hundred pages.
inline std::size_t resident_bytes() {
  long long kilobytes = read_figure("/proc/self/smaps_rollup", "\nRss:");
  if (kilobytes < 0) {
    kilobytes = read_figure("/proc/self/status", "\nVmRSS:");
  }
  CHECK_GT(kilobytes, 0);
  return static_cast<std::size_t>(kilobytes) * kib;
}

inline std::size_t virtual_bytes() {
  return static_cast<std::size_t>(read_figure("/proc/self/status", "\nVmSize:")) * kib;
}

// How long a test waits for what another thread has to do. On a busy machine that takes as long as
// it takes; a fixed pause before a check would test the machine.
constexpr double longest_wait_s = 60;

// Whether the condition holds, now or within `longest_wait_s`.
template <class Condition>
bool comes_true(Condition condition) {
  const double end = seconds_now() + longest_wait_s;
  while (!condition()) {
    if (seconds_now() > end) {
      return false;
    }
    sleep_ms(20);
  }
  return true;
}

struct shrunk {
  std::size_t resident; // bytes
  double seconds;       // that it took
};

// Waits until at most `bytes` are resident; what is resident then, or after `longest_wait_s`.
inline shrunk await_resident(std::size_t bytes) {
  const double begin = seconds_now();
  std::size_t now = 0;
  (void)comes_true([&] { return (now = resident_bytes()) <= bytes; });
  return {now, seconds_now() - begin};
}

inline long long thread_count() {
  return read_figure("/proc/self/status", "\nThreads:");
}

// With caches per processor (option cpu_caches) a heap belongs to a processor, not to a thread: a
// thread that the scheduler moves leaves what it freed behind, and fills another heap. Tests that
// measure whether one heap is reused stay where they are; the threads that they start stay there
// too, but for those that go anywhere.
inline void stay_on_this_processor() {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &only);
  CHECK_EQ(sched_setaffinity(0, sizeof only, &only), 0);
}

// The kernel leaves out the processors that this process may not use.
inline void go_to_any_processor() {
  cpu_set_t all;
  std::memset(&all, 0xff, sizeof all);
  CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

struct child_result {
  int status = 0;         // as from waitpid
  std::size_t length = 0; // of what it wrote to standard error
  char text[8192] = {};

  bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  bool died_of(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
  bool says(const char* words) const { return std::strstr(text, words) != nullptr; }

  // Lines of standard error that contain `words`; "" counts all.
  int lines_with(const char* words) const {
    int count = 0;
    for (const char* line = text; *line != '\0';) {
      const char* end = std::strchr(line, '\n');
      std::size_t size = end != nullptr ? static_cast<std::size_t>(end - line) : std::strlen(line);
      count += memmem(line, size, words, std::strlen(words)) != nullptr;
      line += size + (end != nullptr);
    }
    return count;
  }
};

// qemu-user reports a fatal signal of the program that it runs by a line of its own.
inline void remove_emulator_line(child_result& result) {
  char* const line = std::strstr(result.text, "qemu: uncaught target signal ");
  if (line != nullptr && (line == result.text || line[-1] == '\n')) {
    *line = '\0';
    result.length = static_cast<std::size_t>(line - result.text);
  }
}

// Runs `body` in a forked child that exits 0 if it returns, is ended by SIGALRM if it hangs, and
// leaves no core file. Returns how it ended and what it wrote to standard error.
template <class Body>
child_result run_child(Body&& body, unsigned time_limit_s = 60) {
  int ends[2];
  CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
  pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(time_limit_s);
    body();
    _exit(0);
  }
  close(ends[1]);
  child_result result;
  ssize_t got;
  char rest[512];
  while ((got = read(ends[0], result.text + result.length,
                     sizeof result.text - 1 - result.length)) > 0) {
    result.length += static_cast<std::size_t>(got);
  }
  while (read(ends[0], rest, sizeof rest) > 0) {
  }
  close(ends[0]);
  CHECK_EQ(waitpid(child, &result.status, 0), child);
  remove_emulator_line(result);
  return result;
}

// Prints what a child did, for when a check of it is about to fail.
inline void describe(const char* name, const child_result& result) {
  char text[256];
  int length =
      snprintf(text, sizeof text, "%s: %s %d, said:\n", name,
               WIFSIGNALED(result.status) ? "ended by signal" : "exited with",
               WIFSIGNALED(result.status) ? WTERMSIG(result.status) : WEXITSTATUS(result.status));
  check_print(text, static_cast<std::size_t>(length));
  check_print(result.text, result.length);
}

// Sets a resource limit of this process (soft only, so that it can be lifted again).
inline void set_limit(int resource, rlim_t bytes) {
  rlimit limit{};
  CHECK_EQ(getrlimit(static_cast<__rlimit_resource>(resource), &limit), 0);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  CHECK_EQ(setrlimit(static_cast<__rlimit_resource>(resource), &limit), 0);
}

// Replaces this process by itself with one argument; LD_PRELOAD and the rest stay as they are.
[[noreturn]] inline void execute_self(const char* argument) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  CHECK_GT(length, 0);
  path[length] = '\0';
  char* arguments[] = {path, const_cast<char*>(argument), nullptr};
  execv(path, arguments);
  check_failed(__FILE__, __LINE__, "execv of the test itself", "");
}
