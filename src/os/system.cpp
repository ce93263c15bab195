// SPDX-License-Identifier: MIT
#include "os/system.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/units.hpp"
#include "os/memory.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace mete::os {
namespace {

// All of this is a part of the start of every process. So it is written without functions of the C
// library other than syscall(): each is a symbol to look up, and its code a page to map.

// The beginning of a file as a text; empty if it cannot be read.
template <std::size_t Size>
void read_text(const char* path, char (&text)[Size]) {
  text[0] = '\0';
  const long file = ::syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return;
  const long length = ::syscall(SYS_read, file, text, Size - 1);
  ::syscall(SYS_close, file);
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

bool begins_with(const char* text, const char* beginning) {
  while (*beginning != '\0' && *text == *beginning) {
    ++text;
    ++beginning;
  }
  return *beginning == '\0';
}

// The tightest limit of a group and the groups around it. `group` is cut at its slashes, of which
// the first is its beginning. The outermost group of a machine has no limit; so it is looked at
// only where no other is found, as in a container, whose own group looks like the outermost.
std::size_t group_limit(const char* mount, char* group, const char* file) {
  char* end = group;
  while (*end != '\0')
    ++end;
  if (end == group + 1)
    --end; // the outermost is "/", and has no name
  std::size_t limit = SIZE_MAX;
  for (bool found = false;;) {
    *end = '\0';
    if (found && end == group)
      return limit;
    message path{message::empty_tag{}};
    path << mount << const_cast<const char*>(group) << "/" << file;
    char text[64];
    read_text(path.text(), text);
    found = found || text[0] != '\0';
    limit = std::min(limit, leading_number(text));
    if (end == group)
      return limit;
    do
      --end;
    while (*end != '/');
  }
}

// /proc/self/cgroup has lines "number:controllers:path"; version 2 has no controllers, and comes
// last. Memory is limited by one of them.
std::size_t cgroup_limit_bytes() {
  char text[2048];
  read_text("/proc/self/cgroup", text);
  for (char* at = text; *at != '\0';) {
    char* colon = at;
    while (*colon != ':' && *colon != '\0')
      ++colon;
    at = colon;
    while (*at != '\n' && *at != '\0')
      ++at;
    if (*at == '\n')
      *at++ = '\0';
    constexpr char version_1[] = ":memory:";
    if (begins_with(colon, ":memory:/"))
      return group_limit("/sys/fs/cgroup/memory", colon + sizeof version_1 - 1,
                         "memory.limit_in_bytes");
    if (begins_with(colon, "::/"))
      return group_limit("/sys/fs/cgroup", colon + 2, "memory.max");
  }
  return SIZE_MAX;
}

// The first number of /proc/self/statm: pages of address space in use.
std::size_t mapped_bytes() {
  char text[64];
  read_text("/proc/self/statm", text);
  const std::size_t pages = leading_number(text);
  return pages == SIZE_MAX ? 0 : pages * page_bytes;
}

std::uint32_t now_ms(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

// A fact that is found out by calls to the system, once. It is not 0.
template <class Number>
class known_once {
public:
  template <class Find>
  Number get(Find find) {
    Number number = known_.load(std::memory_order_relaxed);
    if (number == 0) {
      const int saved_errno = errno;
      number = find();
      errno = saved_errno;
      known_.store(number, std::memory_order_relaxed);
    }
    return number;
  }

private:
  std::atomic<Number> known_{0};
};

} // namespace

std::size_t physical_memory_bytes() {
  static constinit known_once<std::size_t> known;
  return known.get([] {
    struct sysinfo info {};
    return ::syscall(SYS_sysinfo, &info) == 0
               ? static_cast<std::size_t>(info.totalram) * info.mem_unit
               : 1 * GiB;
  });
}

std::size_t memory_limit_bytes() {
  static constinit known_once<std::size_t> known;
  return known.get([] { return std::min(cgroup_limit_bytes(), physical_memory_bytes()); });
}

std::size_t address_space_left_bytes() {
  static constinit known_once<std::size_t> known;
  return known.get([] {
    struct rlimit limit {};
    if (::syscall(SYS_prlimit64, 0, RLIMIT_AS, nullptr, &limit) != 0 ||
        limit.rlim_cur == RLIM_INFINITY)
      return SIZE_MAX;
    const std::size_t used = mapped_bytes();
    return limit.rlim_cur > used ? limit.rlim_cur - used : 1;
  });
}

unsigned usable_cpus() {
  static constinit known_once<unsigned> known;
  return known.get([] {
    // As large as the kernel's own: a smaller one would be refused. The call returns its size.
    unsigned long set[8192 / (8 * sizeof(unsigned long))] = {};
    ::syscall(SYS_sched_getaffinity, 0, sizeof set, set);
    unsigned count = 0;
    for (const unsigned long word : set)
      count += count_bits(word);
    return std::max(count, 1u);
  });
}

void read_system_facts() {
  memory_limit_bytes();
  address_space_left_bytes();
  usable_cpus();
}

std::uint32_t coarse_now_ms() {
  return now_ms(CLOCK_MONOTONIC_COARSE);
}

std::uint32_t thread_cpu_ms() {
  return now_ms(CLOCK_THREAD_CPUTIME_ID);
}

} // namespace mete::os
