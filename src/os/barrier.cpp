// SPDX-License-Identifier: MIT
#include "os/barrier.hpp"

#include "os/system.hpp"

#include <cerrno>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace mete::os {

// Until the kernel has agreed, the safe answer holds.
constinit std::atomic<bool> light_barrier_is_fence{true};

namespace {

// What the kernel does for heavy_barrier(). Ending: it has refused, and threads may not know yet.
// Once ended it stays so.
enum class service { none, given, ending, ended };
constinit std::atomic<service> barriers{service::none};
constinit std::atomic<service> restarts{service::none};
constinit std::atomic<end_of_restarts> at_end_of_restarts{nullptr};

// Until every store made before has long left its processor, and every instruction that was under
// way has been carried out: what membarrier would have done in a microsecond.
constexpr std::uint32_t patience_ms = 20;

[[maybe_unused]] bool membarrier(int command) {
  const int saved_errno = errno;
  const bool done = ::syscall(SYS_membarrier, command, 0, 0) == 0;
  errno = saved_errno;
  return done;
}

// The clock decides, because a sandbox may refuse to let the thread sleep.
void wait_with_patience() {
  const int saved_errno = errno;
  const std::uint32_t begin_ms = coarse_now_ms();
  while (coarse_now_ms() - begin_ms <= patience_ms) {
    const timespec rest{0, 1'000'000};
    ::nanosleep(&rest, nullptr);
  }
  errno = saved_errno;
}

void end_restarts(restarts_end stage) {
  const end_of_restarts on_end = at_end_of_restarts.load(std::memory_order_acquire);
  if (on_end != nullptr)
    on_end(stage);
}

void begin_to_use_fences() {
  light_barrier_is_fence.store(true, std::memory_order_seq_cst);
  barriers.store(service::ending, std::memory_order_seq_cst);
}

void begin_to_end_restarts() {
  restarts.store(service::ending, std::memory_order_seq_cst);
  end_restarts(restarts_end::begins);
}

// Whoever comes while a service is ending waits as long as if it had ended it.
void complete_endings() {
  const bool barriers_end = barriers.load(std::memory_order_seq_cst) == service::ending;
  const bool restarts_end_now = restarts.load(std::memory_order_seq_cst) == service::ending;
  if (!barriers_end && !restarts_end_now)
    return;
  wait_with_patience();
  if (barriers_end)
    barriers.store(service::ended, std::memory_order_seq_cst);
  if (restarts_end_now) {
    restarts.store(service::ended, std::memory_order_seq_cst);
    end_restarts(restarts_end::is_complete);
  }
}

} // namespace

void initialise_barriers() {
#if !defined(METE_THREAD_SANITIZER) // which cannot see an order that the kernel makes
  const bool granted = barriers.load(std::memory_order_relaxed) != service::ended &&
                       membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                       membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  barriers.store(granted ? service::given : service::ended, std::memory_order_relaxed);
  light_barrier_is_fence.store(!granted, std::memory_order_relaxed);
#endif
  const service before = restarts.load(std::memory_order_relaxed);
  if (before == service::none || before == service::ended ||
      (before == service::given && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ)))
    return;
  // In the child of a fork, which has one thread: nothing to wait for.
  begin_to_end_restarts();
  restarts.store(service::ended, std::memory_order_relaxed);
  end_restarts(restarts_end::is_complete);
}

void use_fences() {
  if (barriers.load(std::memory_order_seq_cst) == service::none)
    barriers.store(service::ended, std::memory_order_seq_cst);
  if (barriers.load(std::memory_order_seq_cst) == service::given)
    begin_to_use_fences();
  if (restarts.load(std::memory_order_seq_cst) == service::given)
    begin_to_end_restarts();
  complete_endings();
}

bool initialise_restarts(end_of_restarts on_end) {
  service found = restarts.load(std::memory_order_acquire);
  if (found != service::none)
    return found == service::given;
  at_end_of_restarts.store(on_end, std::memory_order_release);
  const bool granted = barriers.load(std::memory_order_relaxed) != service::ended &&
                       membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) &&
                       membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ);
  restarts.compare_exchange_strong(found, granted ? service::given : service::ended,
                                   std::memory_order_acq_rel);
  return granted;
}

void heavy_barrier() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (barriers.load(std::memory_order_relaxed) == service::given &&
      !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
    begin_to_use_fences();
  // The kernel promises no order of memory here, so it comes in addition, and afterwards.
  if (restarts.load(std::memory_order_relaxed) == service::given &&
      !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ))
    begin_to_end_restarts();
  complete_endings();
}

} // namespace mete::os
