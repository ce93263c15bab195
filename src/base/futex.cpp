// SPDX-License-Identifier: MIT
#include "base/futex.hpp"

#include <cerrno>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mete {
namespace {

constexpr std::uint32_t rest_ns = 100'000;

// False if the system refuses the call altogether.
bool futex(const std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
           const timespec* timeout) {
  const int saved_errno = errno;
  const bool done = ::syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout,
                              nullptr, 0) >= 0 ||
                    errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT;
  errno = saved_errno;
  return done;
}

// False if the system refuses that, too.
bool sleep(const timespec& time) {
  const int saved_errno = errno;
  const bool slept = ::nanosleep(&time, nullptr) == 0 || errno == EINTR;
  errno = saved_errno;
  return slept;
}

} // namespace

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  if (!futex(word, FUTEX_WAIT, expected, nullptr)) [[unlikely]]
    sleep({0, rest_ns}); // nobody can wake the thread, so it looks now and then
}

bool futex_wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                    std::uint32_t timeout_ms) {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(timeout_ms / 1000);
  timeout.tv_nsec = static_cast<long>(timeout_ms % 1000) * 1'000'000;
  return futex(word, FUTEX_WAIT, expected, &timeout) || sleep(timeout);
}

void futex_wake(const std::atomic<std::uint32_t>& word, int count) {
  futex(word, FUTEX_WAKE, static_cast<std::uint32_t>(count), nullptr);
}

} // namespace mete
