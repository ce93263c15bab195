// SPDX-License-Identifier: MIT
#include "os/system.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/memory.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace mete::os {
namespace {

// The beginning of a file as a text; empty if it cannot be read.
template <std::size_t Size>
void read_text(const char* path, char (&text)[Size]) {
  text[0] = '\0';
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return;
  const ssize_t length = ::read(file, text, Size - 1);
  ::close(file);
  text[length < 0 ? 0 : length] = '\0';
}

// The number that the text begins with; SIZE_MAX if it begins with none ("max").
std::size_t leading_number(const char* text) {
  if (*text < '0' || *text > '9')
    return SIZE_MAX;
  std::size_t number = 0;
  for (; *text >= '0' && *text <= '9' && number < SIZE_MAX / 16; ++text)
    number = number * 10 + static_cast<std::size_t>(*text - '0');
  return number;
}

// The tightest limit of a group and the groups around it. `group` is cut at its slashes.
std::size_t group_limit(const char* mount, char* group, const char* file) {
  std::size_t limit = SIZE_MAX;
  for (;;) {
    message path{message::empty_tag{}};
    path << mount << const_cast<const char*>(group) << "/" << file;
    char text[64];
    read_text(path.text(), text);
    limit = std::min(limit, leading_number(text));
    char* const slash = std::strrchr(group, '/');
    if (slash == nullptr)
      return limit;
    *slash = '\0';
  }
}

// /proc/self/cgroup has lines "number:controllers:path"; version 2 has no controllers.
std::size_t cgroup_limit_bytes() {
  char text[2048];
  read_text("/proc/self/cgroup", text);
  std::size_t limit = SIZE_MAX;
  char* rest = nullptr;
  for (char* line = ::strtok_r(text, "\n", &rest); line != nullptr;
       line = ::strtok_r(nullptr, "\n", &rest)) {
    char* const controllers = std::strchr(line, ':');
    char* const group = controllers == nullptr ? nullptr : std::strchr(controllers + 1, ':');
    if (group == nullptr)
      continue;
    if (group == controllers + 1)
      limit = std::min(limit, group_limit("/sys/fs/cgroup", group + 1, "memory.max"));
    else if (std::strstr(controllers, ":memory:") == controllers)
      limit =
          std::min(limit, group_limit("/sys/fs/cgroup/memory", group + 1, "memory.limit_in_bytes"));
  }
  return limit;
}

// The first number of /proc/self/statm: pages of address space in use.
std::size_t mapped_bytes() {
  char text[64];
  read_text("/proc/self/statm", text);
  const std::size_t pages = leading_number(text);
  return pages == SIZE_MAX ? 0 : pages * page_bytes;
}

} // namespace

std::size_t physical_memory_bytes() {
  const int saved_errno = errno;
  struct sysinfo info {};
  const bool known = ::sysinfo(&info) == 0;
  errno = saved_errno;
  return known ? static_cast<std::size_t>(info.totalram) * info.mem_unit : std::size_t{1} << 30;
}

std::size_t memory_limit_bytes() {
  const int saved_errno = errno;
  const std::size_t limit = std::min(cgroup_limit_bytes(), physical_memory_bytes());
  errno = saved_errno;
  return limit;
}

std::size_t address_space_left_bytes() {
  const int saved_errno = errno;
  struct rlimit limit {};
  std::size_t left = SIZE_MAX;
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const std::size_t used = mapped_bytes();
    left = limit.rlim_cur > used ? limit.rlim_cur - used : 0;
  }
  errno = saved_errno;
  return left;
}

unsigned usable_cpus() {
  static constinit std::atomic<unsigned> known{0};
  unsigned count = known.load(std::memory_order_relaxed);
  if (count == 0) {
    const int saved_errno = errno;
    // As large as the kernel's own: a smaller one would be refused. The call returns its size.
    unsigned long set[8192 / (8 * sizeof(unsigned long))] = {};
    ::syscall(SYS_sched_getaffinity, 0, sizeof set, set);
    for (const unsigned long word : set)
      count += count_bits(word);
    count = std::max(count, 1u);
    known.store(count, std::memory_order_relaxed);
    errno = saved_errno;
  }
  return count;
}

std::uintptr_t random_word() {
  const int saved_errno = errno;
  std::uintptr_t word = 0;
  if (::getrandom(&word, sizeof word, GRND_NONBLOCK) != sizeof word) {
    // Early at boot, or in a sandbox: where the kernel put things is random, too.
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto place = reinterpret_cast<std::uintptr_t>(&word);
    word = (place ^ static_cast<std::uintptr_t>(now.tv_nsec) << 32) * 0x9e3779b97f4a7c15u;
    word ^= word >> 29;
  }
  errno = saved_errno;
  return word;
}

std::uint32_t coarse_now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

} // namespace mete::os
