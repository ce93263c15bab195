// SPDX-License-Identifier: MIT
// Runs one program and writes what it cost as one JSON object: wall, user and system time, peak
// resident memory, page faults, context switches, the number of mappings at its end, and whether a
// named library was mapped into it.
//
// Why a program and not a few lines of Python: the kernel counts what a child's memory was before
// exec into the child's peak, so a measuring process must be smaller than anything it measures.
// The mappings are read while the process stands still on its way out (PTRACE_O_TRACEEXIT), where
// even a program that lives for a millisecond can be seen; nothing else stops, and the pause is not
// counted.

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct seen_at_exit {
  bool seen = false;
  bool library_mapped = false;
  int mappings = 0;
};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "measure: %s: %s\n", what, std::strerror(errno));
  std::exit(125);
}

double seconds_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

seen_at_exit read_mappings(pid_t process, const char* library) {
  char line[4608];
  std::snprintf(line, sizeof line, "/proc/%d/maps", static_cast<int>(process));
  seen_at_exit result;
  if (FILE* maps = std::fopen(line, "re")) {
    result.seen = true;
    while (std::fgets(line, sizeof line, maps) != nullptr) {
      ++result.mappings;
      const char* path = std::strchr(line, '/');
      if (path != nullptr && library != nullptr) {
        const std::size_t length = std::strlen(library);
        result.library_mapped = result.library_mapped ||
                                (std::strncmp(path, library, length) == 0 && path[length] == '\n');
      }
    }
    std::fclose(maps);
  }
  return result;
}

// Waits behind the pipe until the parent watches, then becomes the program.
[[noreturn]] void become(char** command, const char* preload, int gate) {
  char go = 0;
  if (read(gate, &go, 1) != 1) {
    _exit(125);
  }
  if (preload != nullptr) {
    setenv("LD_PRELOAD", preload, 1);
  } else {
    unsetenv("LD_PRELOAD");
  }
  execvp(command[0], command);
  std::fprintf(stderr, "measure: %s: %s\n", command[0], std::strerror(errno));
  _exit(127);
}

// Follows the process to its end. Signals are passed on; only the way out is looked at.
int follow(pid_t process, const char* library, seen_at_exit& seen, double& paused, rusage& used) {
  for (;;) {
    int status = 0;
    if (wait4(process, &status, __WALL, &used) < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail("wait4");
    }
    if (!WIFSTOPPED(status)) {
      return status;
    }
    const int event = status >> 16;
    int deliver = 0;
    if (event == PTRACE_EVENT_EXIT) {
      const double start = seconds_now();
      seen = read_mappings(process, library);
      paused += seconds_now() - start;
    } else if (event == 0) {
      deliver = WSTOPSIG(status);
    }
    ptrace(PTRACE_CONT, process, nullptr, reinterpret_cast<void*>(static_cast<long>(deliver)));
  }
}

[[noreturn]] void usage() {
  std::fputs("usage: measure --output FILE [--preload LIBRARY] [--expect LIBRARY] -- program "
             "[argument...]\n",
             stderr);
  std::exit(125);
}

} // namespace

int main(int argc, char** argv) {
  const char* output = nullptr;
  const char* preload = nullptr;
  const char* library = nullptr;
  int at = 1;
  for (; at + 1 < argc && std::strcmp(argv[at], "--") != 0; at += 2) {
    if (std::strcmp(argv[at], "--output") == 0) {
      output = argv[at + 1];
    } else if (std::strcmp(argv[at], "--preload") == 0) {
      preload = argv[at + 1];
    } else if (std::strcmp(argv[at], "--expect") == 0) {
      library = argv[at + 1];
    } else {
      usage();
    }
  }
  if (output == nullptr || at + 1 >= argc) {
    usage();
  }

  // Whoever stops the measuring process stops the program too: they share the group's signals.
  std::signal(SIGINT, SIG_IGN);
  int gate[2];
  if (pipe2(gate, O_CLOEXEC) != 0) {
    fail("pipe");
  }
  const pid_t process = fork();
  if (process < 0) {
    fail("fork");
  }
  if (process == 0) {
    std::signal(SIGINT, SIG_DFL);
    close(gate[1]);
    become(argv + at + 1, preload, gate[0]);
  }
  if (ptrace(PTRACE_SEIZE, process, nullptr, reinterpret_cast<void*>(PTRACE_O_TRACEEXIT)) != 0) {
    fail("the program cannot be watched (ptrace); allow it with sysctl kernel.yama.ptrace_scope=1");
  }
  seen_at_exit seen;
  double paused = 0;
  rusage used{};
  const double start = seconds_now();
  if (write(gate[1], "", 1) != 1) {
    fail("pipe");
  }
  const int status = follow(process, library, seen, paused, used);
  const double wall = seconds_now() - start - paused;

  FILE* out = std::fopen(output, "we");
  if (out == nullptr) {
    fail(output);
  }
  std::fprintf(out,
               "{\"status\": %d, \"wall_s\": %.6f, \"user_s\": %.6f, \"sys_s\": %.6f, "
               "\"peak_rss_kib\": %ld, \"minor_faults\": %ld, \"major_faults\": %ld, "
               "\"voluntary_switches\": %ld, \"involuntary_switches\": %ld, \"mappings\": %d, "
               "\"maps_read\": %s, \"library_mapped\": %s}\n",
               WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), wall,
               seconds_of(used.ru_utime), seconds_of(used.ru_stime), used.ru_maxrss, used.ru_minflt,
               used.ru_majflt, used.ru_nvcsw, used.ru_nivcsw, seen.mappings,
               seen.seen ? "true" : "false", seen.library_mapped ? "true" : "false");
  std::fclose(out);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
