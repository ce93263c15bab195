// SPDX-License-Identifier: MIT
#include "front/background.hpp"

#include "base/falling.hpp"
#include "base/futex.hpp"
#include "base/options.hpp"
#include "front/maintenance.hpp"
#include "front/thread.hpp"
#include "os/system.hpp"
#include "os/thread.hpp"
#include "page/region.hpp"

#include <algorithm>

namespace mete::front {
namespace {

constexpr unsigned idle_rounds_until_end = 8;
constexpr std::uint32_t stop_patience_ms = 10;
constexpr std::uint32_t pause_after_stop_ms = 500;

struct background_state {
  std::atomic<std::uint32_t> running{0};
  std::atomic<std::uint32_t> stop{0};     // what it sleeps on
  std::atomic<bool> wanted{false};        // something came up since it last looked
  std::atomic<bool> forbidden{false};     // the system refused it
  std::atomic<bool> awaits_thread{false}; // not before the program has started one
  std::atomic<bool> pausing{false};       // it was stopped too often, the last time at
  std::atomic<std::uint32_t> stopped_ms{0};
  std::atomic<std::size_t> freed_bytes{0}; // to slabs, since all was given back
};
constinit background_state background;

void background_rounds() {
  std::size_t dirty_before = 0;
  for (unsigned idle = 0; idle < idle_rounds_until_end && background_allowed();) {
    const std::uint32_t begin_ms = os::thread_cpu_ms();
    std::size_t purged = 0;
    if (gate_pass inside; inside) { // else a fork takes long: in the next round, then
      lock_guard guard(maintenance_lock);
      purged = decay_round(false, SIZE_MAX);
    }
    const std::size_t dirty = page::dirty_bytes();
    const bool busy = background.wanted.exchange(false, std::memory_order_relaxed);
    idle = purged == 0 && !busy && dirty == dirty_before ? idle + 1 : 0;
    dirty_before = dirty;
    // However much there is to look at, at most a twentieth of a processor; to give back, a third.
    const std::uint32_t took_ms = os::thread_cpu_ms() - begin_ms;
    const std::uint32_t rest = purged == 0 ? 20 : 3;
    if (!futex_wait_for(background.stop, 0, std::max(round_interval_ms(), rest * took_ms))) {
      background.forbidden.store(true, std::memory_order_relaxed); // a thread that cannot sleep
      return;
    }
    background.stop.store(0, std::memory_order_seq_cst); // before background_allowed() is asked
  }
}

void background_main() {
  renounce_heap();
  do {
    background_rounds();
    background.freed_bytes.store(0, std::memory_order_relaxed);
    background.running.store(0, std::memory_order_seq_cst);
    futex_wake(background.running, INT32_MAX);
    // Whoever wanted something in between has seen `running`: then it is ours to do.
  } while (background.wanted.load(std::memory_order_seq_cst) && background_allowed() &&
           background.running.exchange(1, std::memory_order_seq_cst) == 0);
}

// Threads that come and go would have it started and stopped all the time; so after some stops in a
// row it does not come back at once.
bool is_pausing() {
  if (!background.pausing.load(std::memory_order_relaxed))
    return false;
  const std::uint32_t since = background.stopped_ms.load(std::memory_order_relaxed);
  if (os::coarse_now_ms() - since < pause_after_stop_ms)
    return true;
  background.pausing.store(false, std::memory_order_relaxed);
  return false;
}

} // namespace

bool background_allowed() {
  if (background.forbidden.load(std::memory_order_relaxed))
    return false;
  if (background.awaits_thread.load(std::memory_order_relaxed) && threads_that_allocate() < 2)
    return false;
  switch (static_cast<background_mode>(option(options.background))) {
  case background_mode::never:
    return false;
  case background_mode::beside_threads:
    return threads_that_allocate() > 1 && !is_pausing();
  case background_mode::always:
    break;
  }
  return true;
}

bool ensure_background() {
  if (!background_allowed())
    return false;
  if (!background.wanted.load(std::memory_order_relaxed))
    background.wanted.store(true, std::memory_order_seq_cst);
  if (background.running.load(std::memory_order_seq_cst) != 0)
    return true;
  // Not while the C library is inside its list of stacks; the next look from elsewhere starts it.
  if (loader_frees != 0)
    return true;
  if (background.running.exchange(1, std::memory_order_seq_cst) != 0)
    return true;
  if (os::start_thread(background_main, "mete-purger"))
    return true;
  background.running.store(0, std::memory_order_relaxed);
  background.forbidden.store(true, std::memory_order_relaxed);
  return false;
}

void note_freed(std::size_t bytes) {
  background.freed_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

bool much_is_unused() {
  const auto threshold = static_cast<std::size_t>(option(options.background_threshold));
  return page::dirty_bytes() >= threshold ||
         background.freed_bytes.load(std::memory_order_relaxed) >= threshold;
}

void forget_freed() {
  background.freed_bytes.store(0, std::memory_order_relaxed);
}

bool stop_background() {
  if (background.running.load(std::memory_order_seq_cst) == 0)
    return false;
  background.stop.store(1, std::memory_order_seq_cst);
  futex_wake(background.stop, 1);
  const std::uint32_t begin_ms = os::coarse_now_ms();
  static constinit seldom stops;
  if (!stops.take(begin_ms)) {
    background.stopped_ms.store(begin_ms, std::memory_order_relaxed);
    background.pausing.store(true, std::memory_order_relaxed);
  }
  while (background.running.load(std::memory_order_seq_cst) != 0 &&
         os::coarse_now_ms() - begin_ms < stop_patience_ms)
    (void)futex_wait_for(background.running, 1, stop_patience_ms);
  return true;
}

void await_thread_for_background() {
  background.awaits_thread.store(true, std::memory_order_relaxed);
}

void forget_background_thread() {
  background.awaits_thread.store(false, std::memory_order_relaxed);
  background.running.store(0, std::memory_order_relaxed);
  background.wanted.store(false, std::memory_order_relaxed);
}

} // namespace mete::front
