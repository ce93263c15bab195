// SPDX-License-Identifier: MIT
#include "os/barrier.hpp"

#include <cerrno>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mete::os {

// Until the kernel has agreed, the safe answer holds.
constinit std::atomic<bool> light_barrier_is_fence{true};

namespace {

constinit std::atomic<bool> restarts{false}; // heavy_barrier() makes them

[[maybe_unused]] bool membarrier(int command) {
  const int saved_errno = errno;
  const bool done = ::syscall(SYS_membarrier, command, 0, 0) == 0;
  errno = saved_errno;
  return done;
}

} // namespace

void initialise_barriers() {
#if !defined(METE_THREAD_SANITIZER) // which cannot see an order that the kernel makes
  const bool granted = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                       membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  light_barrier_is_fence.store(!granted, std::memory_order_relaxed);
#endif
  if (restarts.load(std::memory_order_relaxed))
    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
}

bool initialise_restarts() {
  if (restarts.load(std::memory_order_acquire))
    return true;
  if (!membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) ||
      !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ))
    return false;
  restarts.store(true, std::memory_order_release);
  return true;
}

void heavy_barrier() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!light_barrier_is_fence.load(std::memory_order_relaxed))
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  // The kernel promises no order of memory here, so it comes in addition, and afterwards.
  if (restarts.load(std::memory_order_relaxed))
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ);
}

} // namespace mete::os
