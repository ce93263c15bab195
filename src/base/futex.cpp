// SPDX-License-Identifier: MIT
#include "base/futex.hpp"

#include <cerrno>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mete {
namespace {

void futex(const std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
           const timespec* timeout) {
  const int saved_errno = errno;
  ::syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
  errno = saved_errno;
}

} // namespace

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  futex(word, FUTEX_WAIT, expected, nullptr);
}

void futex_wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                    std::uint32_t timeout_ms) {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(timeout_ms / 1000);
  timeout.tv_nsec = static_cast<long>(timeout_ms % 1000) * 1'000'000;
  futex(word, FUTEX_WAIT, expected, &timeout);
}

void futex_wake(const std::atomic<std::uint32_t>& word, int count) {
  futex(word, FUTEX_WAKE, static_cast<std::uint32_t>(count), nullptr);
}

} // namespace mete
