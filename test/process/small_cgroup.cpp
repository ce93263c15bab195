// A container with 64 MiB: a program whose live blocks are 20 MiB, with constant churn, must not be
// killed. Whatever the allocator holds back counts, and so do the kernel's tables for it.
//
// Sizes drift: in each phase all blocks are replaced by others of a neighbouring range, one by one
// at random. So the memory of two ranges is in use at once in the middle of a phase (allocators
// with size classes cannot mix them on a page), and must have gone back before the third comes.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <string>
#include <sys/stat.h>

namespace {

constexpr std::size_t limit = 64 * mib;
constexpr std::size_t live_bytes = 20 * mib;

bool write_text(const std::string& path, const std::string& text) {
  int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool written =
      file >= 0 && write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (file >= 0) {
    close(file);
  }
  return written;
}

// The folder of this process's control group in the hierarchy whose line in /proc/self/cgroup has
// `mark`, below `mount`; empty if there is none.
std::string own_group(const char* mount, const char* mark) {
  char text[4096];
  read_text("/proc/self/cgroup", text, sizeof text);
  const char* line = std::strstr(text, mark);
  if (line == nullptr || access(mount, F_OK) != 0) {
    return {};
  }
  line += std::strlen(mark);
  return mount + std::string(line, std::strcspn(line, "\n"));
}

// Makes a group of its own with the limit; returns its folder, or why that cannot be.
struct group {
  std::string folder;
  std::string obstacle;
};

group make_group() {
  std::string name = "/mete-test-" + std::to_string(getpid());
  struct version {
    std::string parent;
    const char* limit_file;
  };
  const version versions[] = {
      {own_group("/sys/fs/cgroup/memory", ":memory:"), "/memory.limit_in_bytes"},
      {own_group("/sys/fs/cgroup", "0::"), "/memory.max"}};
  group result;
  for (const version& candidate : versions) {
    if (candidate.parent.empty()) {
      continue;
    }
    std::string folder = candidate.parent + name;
    if (mkdir(folder.c_str(), 0755) != 0) {
      result.obstacle += " cannot make " + folder + ": " + std::strerror(errno) + ";";
    } else if (!write_text(folder + candidate.limit_file, std::to_string(limit))) {
      result.obstacle += " cannot set the limit of " + folder + ";";
      rmdir(folder.c_str());
    } else {
      result.folder = folder;
      return result;
    }
  }
  return result;
}

// Every size class in turn takes up much of the memory: what one leaves behind, the next must be
// able to use.
void live_in_20_mib() {
  static void* blocks[200000];
  static std::size_t sizes[200000];
  random_source random{30};
  std::size_t live = 0;
  for (unsigned phase = 0; phase < 12; ++phase) {
    unsigned low = 4 + phase % 6 * 2; // from 16 B to 64 KiB
    for (int step = 0; step < 1200000; ++step) {
      std::size_t slot = random.below(std::size(blocks));
      if (blocks[slot] != nullptr) {
        free(blocks[slot]);
        live -= sizes[slot];
        blocks[slot] = nullptr;
      }
      std::size_t size = random.size_between(low, low + 2);
      if (live + size <= live_bytes) {
        blocks[slot] = malloc(size);
        CHECK(blocks[slot] != nullptr);
        std::memset(blocks[slot], 1, size);
        sizes[slot] = size;
        live += size;
      }
    }
    printf("phase %u: live %zu KiB, resident %zu KiB\n", phase, live / kib, resident_bytes() / kib);
  }
}

} // namespace

int main(int count, char**) {
  require_mete();
  if (count > 1) {
    live_in_20_mib();
    return 0;
  }
  group own = make_group();
  if (own.folder.empty()) {
    check_skip(("no control group with a memory limit can be made here:" + own.obstacle).c_str());
  }
  bool entered = true;
  child_result result = run_child([&] {
    if (!write_text(own.folder + "/cgroup.procs", std::to_string(getpid()))) {
      _exit(check_skipped);
    }
    execute_self("live");
  });
  entered = !result.exited_with(check_skipped);
  rmdir(own.folder.c_str());
  if (!entered) {
    check_skip("the control group that was made cannot be entered");
  }
  if (!result.exited_with(0)) {
    describe("20 MiB live in a group of 64 MiB (signal 9: killed for memory)", result);
  }
  CHECK(result.exited_with(0));
}
