// SPDX-License-Identifier: MIT
#include "os/system.hpp"

#include "os/memory.hpp"

#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace mete::os {
namespace {

// The first number of /proc/self/statm: pages of address space in use.
std::size_t mapped_bytes() {
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return 0;
  char text[64];
  const ssize_t length = ::read(file, text, sizeof text);
  ::close(file);
  std::size_t pages = 0;
  for (ssize_t at = 0; at < length && text[at] >= '0' && text[at] <= '9'; ++at)
    pages = pages * 10 + static_cast<std::size_t>(text[at] - '0');
  return pages * page_bytes;
}

} // namespace

std::size_t physical_memory_bytes() {
  const int saved_errno = errno;
  struct sysinfo info {};
  const bool known = ::sysinfo(&info) == 0;
  errno = saved_errno;
  return known ? static_cast<std::size_t>(info.totalram) * info.mem_unit : std::size_t{1} << 30;
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

std::uint32_t coarse_now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

} // namespace mete::os
