// SPDX-License-Identifier: MIT
#include "front/initialise.hpp"

#include "base/check.hpp"
#include "base/options.hpp"
#include "base/placement.hpp"
#include "front/fork.hpp"
#include "front/on_cpu.hpp"
#include "front/statistics.hpp"
#include "front/thread.hpp"
#include "heap/freed_mark.hpp"
#include "heap/mapping.hpp"
#include "mete/mete.h"
#include "os/barrier.hpp"
#include "os/memory.hpp"
#include "os/system.hpp"
#include "os/thread.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <sched.h>
#include <unistd.h>

namespace mete::front {
namespace {

enum : int { untouched, under_way, done };
constinit std::atomic<int> state{untouched};
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
  int expected = untouched;
  if (!state.compare_exchange_strong(expected, under_way, std::memory_order_acquire)) {
    while (state.load(std::memory_order_acquire) != done)
      ::sched_yield();
    return;
  }
  os::initialise_memory();
  heap::initialise_freed_mark();
  heap::remember_first_thread(&heap::this_thread);
  read_options();
  use_barriers();
  os::register_thread_exit(thread_exit);
  state.store(done, std::memory_order_release);
}

} // namespace mete::front
