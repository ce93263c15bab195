// SPDX-License-Identifier: MIT
#include "front/initialise.hpp"

#include "base/check.hpp"
#include "base/futex.hpp"
#include "base/lock.hpp"
#include "base/options.hpp"
#include "base/placement.hpp"
#include "front/fork.hpp"
#include "front/on_cpu.hpp"
#include "front/statistics.hpp"
#include "front/thread.hpp"
#include "heap/mapping.hpp"
#include "mete/mete.h"
#include "os/barrier.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"
#include "os/thread.hpp"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <unistd.h>

namespace mete::front {
namespace {

// 0 at first; then the name of the thread that is at it (base/lock.hpp), which is odd; then:
constexpr std::uint32_t done = 2;
constinit std::atomic<std::uint32_t> state{0};
constinit bool options_read = false;

// The environment may not be there yet when the dynamic loader itself allocates; then the
// constructor below comes back to it.
void read_options() {
  if (options_read || environ == nullptr)
    return;
  options_read = true;
  METE_BESIDE_CODE("variable") static constexpr char variable[] = "METE_OPTIONS";
  if (const char* text = ::secure_getenv(variable); text != nullptr)
    parse_options(text);
}

void use_barriers() {
  if (option(options.membarrier) != 0)
    os::initialise_barriers();
  else
    os::use_fences();
}

[[gnu::constructor(101)]] void start_with_process() {
  initialise();
  if (!options_read) {
    read_options();
    use_barriers();
  }
  os::read_system_facts();
  static constinit bool registered = false;
  if (!registered) {
    registered = true;
    register_for_fork();
    if (option(options.cpu_caches) == static_cast<int>(cpu_caches::always) &&
        !heap::enable_cpu_caches()) {
      message line;
      line << "cpu_caches=1 is ignored: there are no restartable sequences for this process "
              "(rseq(2); they need x86-64, Linux 5.10 and glibc 2.35)";
      line.print();
    }
    if (option(options.verbose) != 0) {
      message line;
      line << "version " << METE_VERSION << " active in pid " << static_cast<int>(::getpid())
           << " (" << const_cast<const char*>(program_invocation_short_name) << ")";
      line.print();
    }
  }
}

[[gnu::destructor]] void end_with_process() {
  if (option(options.stats_at_exit) != 0)
    print_statistics();
}

} // namespace

void initialise() {
  if (state.load(std::memory_order_acquire) == done)
    return;
  os::initialise_memory(); // any number of times, with the same result
  std::uint32_t seen = 0;
  if (!state.compare_exchange_strong(seen, thread_token(), std::memory_order_acquire)) {
    // The thread may itself be at it, beneath a signal handler: it must not wait for itself.
    while (seen != done && (seen & ~lock_contended) != thread_token()) {
      const std::uint32_t awaited = seen | lock_contended;
      if (seen == awaited ||
          state.compare_exchange_strong(seen, awaited, std::memory_order_acquire))
        futex_wait(state, awaited);
      seen = state.load(std::memory_order_acquire);
    }
    return;
  }
  heap::remember_first_thread(&heap::this_thread);
  read_options();
  use_barriers();
  os::find_loader_code();
  os::register_thread_exit(thread_exit);
  if ((state.exchange(done, std::memory_order_acq_rel) & lock_contended) != 0)
    futex_wake(state, INT32_MAX);
}

void reset_initialisation_in_child() {
  const std::uint32_t seen = state.load(std::memory_order_relaxed);
  if (seen != done && (seen & ~lock_contended) != thread_token())
    state.store(0, std::memory_order_relaxed);
}

} // namespace mete::front
