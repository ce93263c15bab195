// Core dumps hold what is resident and little more: gdb's (gcore), which reads all that is not left
// out of dumps (MADV_DONTDUMP), and the kernel's. Without that, the core of a small process has the
// size of the reservation. Dumping changes nothing in the process; the flags cost no mappings.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/stat.h>

namespace {

struct subject {
  const char* name;
  std::size_t block_bytes;
  std::size_t peak_bytes; // allocated and touched
  std::size_t kept_bytes; // of that, the rest is freed
};
constexpr subject subjects[] = {{"small", 1000, 10 * mib, 10 * mib},
                                {"after a peak of small blocks", 4000, 512 * mib, 5 * mib},
                                {"after a peak of medium blocks", 300 * kib, 512 * mib, 5 * mib},
                                {"after a peak of large blocks", 5 * mib, 512 * mib, 5 * mib},
                                {"mappings", 40 * mib, 120 * mib, 40 * mib}};

constexpr std::size_t room_for_programs =
    6 * mib; // what a core has besides, of libraries and stacks

char folder[] = "/tmp/mete_core_XXXXXX";

// A process in some state, that waits until its end.
struct waiting_process {
  pid_t pid;
  long long lines_of_maps;
};

void fill_memory(const subject& what) {
  static void* blocks[140000];
  std::size_t count = what.peak_bytes / what.block_bytes;
  CHECK_LE(count, std::size(blocks));
  for (std::size_t index = 0; index < count; ++index) {
    blocks[index] = malloc(what.block_bytes);
    CHECK(blocks[index] != nullptr);
    std::memset(blocks[index], 0x5a, what.block_bytes);
  }
  for (std::size_t index = what.kept_bytes / what.block_bytes; index < count; ++index) {
    free(blocks[index]);
  }
  malloc_trim(0);
}

long long own_lines_of_maps() {
  static char text[256 * kib];
  read_text("/proc/self/maps", text, sizeof text);
  long long lines = 0;
  for (const char* at = text; *at != '\0'; ++at) {
    lines += *at == '\n';
  }
  return lines;
}

// `end`: what the process does when it has said that it is ready.
template <class End>
waiting_process start(const subject& what, End end) {
  int ready[2];
  CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
  pid_t pid = fork();
  CHECK_GE(pid, 0);
  if (pid == 0) {
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    fill_memory(what);
    long long lines = own_lines_of_maps();
    CHECK_EQ(write(ready[1], &lines, sizeof lines), sizeof lines);
    end();
    _exit(0);
  }
  close(ready[1]);
  long long lines = 0;
  CHECK_EQ(read(ready[0], &lines, sizeof lines), sizeof lines);
  close(ready[0]);
  return {pid, lines};
}

std::size_t resident_of(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  return static_cast<std::size_t>(read_figure(path, "\nVmRSS:")) * kib;
}

// The file's name; what a program prints is not of interest.
bool run_gcore(pid_t pid, const char* prefix) {
  pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    unsetenv("LD_PRELOAD");
    int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    alarm(120);
    char number[32];
    snprintf(number, sizeof number, "%d", pid);
    execlp("gcore", "gcore", "-o", prefix, number, nullptr);
    _exit(127);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    check_skip("gcore (gdb) is not installed");
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct file_size {
  std::size_t apparent = 0;
  std::size_t occupied = 0;
};
bool size_of(const char* path, file_size& size) {
  struct stat facts {};
  if (stat(path, &facts) != 0) {
    return false;
  }
  size = {static_cast<std::size_t>(facts.st_size), static_cast<std::size_t>(facts.st_blocks) * 512};
  return true;
}

void check_gcore(const subject& what) {
  waiting_process process = start(what, [] { pause(); });
  std::size_t before = resident_of(process.pid);
  char prefix[100];
  char path[140];
  snprintf(prefix, sizeof prefix, "%s/core", folder);
  snprintf(path, sizeof path, "%s.%d", prefix, process.pid);
  bool dumped = run_gcore(process.pid, prefix);
  std::size_t after = resident_of(process.pid);
  kill(process.pid, SIGKILL);
  waitpid(process.pid, nullptr, 0);
  file_size core;
  bool there = size_of(path, core);
  unlink(path);
  if (!dumped || !there) {
    check_skip("gcore could not read the process (ptrace may be forbidden here)");
  }
  printf("gcore, %s: resident %zu KiB, then %zu KiB; core %zu KiB; %lld lines of maps\n", what.name,
         before / kib, after / kib, core.apparent / kib, process.lines_of_maps);
  CHECK_LE(after, before + mib);
  CHECK_GE(core.apparent, what.kept_bytes); // the blocks are in it
  CHECK_LE(core.apparent, before + before / 2 + room_for_programs);
  CHECK_LE(process.lines_of_maps, 80);
}

void check_kernel_core(const subject& what) {
  waiting_process process = start(what, [] {
    CHECK_EQ(chdir(folder), 0);
    rlimit no_limit{RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &no_limit) != 0) {
      _exit(1);
    }
    abort();
  });
  int status = 0;
  CHECK_EQ(waitpid(process.pid, &status, 0), process.pid);
  char path[140];
  file_size core;
  snprintf(path, sizeof path, "%s/core", folder);
  bool there = size_of(path, core);
  if (!there) {
    snprintf(path, sizeof path, "%s/core.%d", folder, process.pid);
    there = size_of(path, core);
  }
  unlink(path);
  if (!there) {
    printf("left out: the kernel's core, which it does not write here\n");
    return;
  }
  printf("kernel's core, %s: %zu KiB, of which %zu KiB on the disk\n", what.name,
         core.apparent / kib, core.occupied / kib);
  CHECK_GE(core.apparent, what.kept_bytes);
  CHECK_LE(core.apparent, what.kept_bytes * 2 + 2 * room_for_programs);
}

} // namespace

int main() {
  require_mete();
  CHECK(mkdtemp(folder) != nullptr);
  char pattern[256];
  read_text("/proc/sys/kernel/core_pattern", pattern, sizeof pattern);
  bool kernel_core = std::strcmp(pattern, "core\n") == 0;
  if (!kernel_core) {
    printf("left out: the kernel's core, because core_pattern is %s", pattern);
  }
  for (const subject& each : subjects) {
    if (kernel_core) {
      check_kernel_core(each);
    }
    check_gcore(each);
  }
  rmdir(folder);
}
