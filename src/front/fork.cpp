// What a fork takes before it, in one table, and what it does in the child.
//
// mete's handlers are registered before anybody else's (override/atfork.cpp), so that in `prepare`
// they run last, and in parent and child first: what other libraries do in theirs happens while the
// gate is open. Behind them only the C library's own preparations remain. In what order all of
// these are taken, and why no circle of waiting threads lasts, is stated as data in
// front/fork_order.hpp.
//
// Whoever is inside of the gate when it is closed leaves soon, unless a signal handler holds it up
// that waits for something which the forking thread has taken: it may be forking, too. So the
// forking thread does not wait for long, gives back what it took, and tries again; after a second
// it goes on although somebody is inside.
//
// A thread that forks while it is inside itself (in a signal handler that interrupted malloc, or
// these handlers) takes no more than fork() does by itself, and waits for nothing of mete's. In
// both cases the child, like that of a bare clone(), finds things as they lay: locks of threads
// that do not exist there are freed, and heaps that they had in hand are set aside. If something
// that all share was half changed, the gate stays closed and the child lives on from the emergency
// arena.
//
// SPDX-License-Identifier: MIT
#include "front/fork.hpp"

#include "front/background.hpp"
#include "front/deferred_work.hpp"
#include "front/fork_order.hpp"
#include "front/gate.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "front/thread.hpp"
#include "heap/cpu_cache.hpp"
#include "heap/mapping.hpp"
#include "heap/registry.hpp"
#include "os/barrier.hpp"
#include "os/fork.hpp"
#include "os/system.hpp"
#include "os/thread.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace mete::front {
namespace {

// --- What is taken ----------------------------------------------------------------------------

template <class Visit>
void for_each_cpu_heap(Visit visit) {
  heap::for_each_heap([&](heap::heap& h) {
    if (h.serves_cpu())
      visit(h);
  });
}

// Threads that use a processor's cache do so without passing the gate; but they look at the lock.
void claim_cpu_caches() {
  bool any = false;
  for_each_cpu_heap([&](heap::heap& h) {
    h.lock.claim(); // nobody has it, because nobody is inside of the gate
    any = true;
  });
  if (any)
    os::heavy_barrier(); // restarts their sequences
}

void restore_cpu_caches() {
  for_each_cpu_heap([](heap::heap& h) { h.lock.restore(); });
}

struct participant {
  fork_lock what;
  void (*prepare)();
  void (*parent)();
};

// In the order in which they are taken; in the parent they are given back in reverse. The last one
// only if all threads are at rest.
constexpr participant participants[] = {
    {fork_lock::streams, os::lock_streams, os::unlock_streams},
    {fork_lock::gate, gate::close, gate::open_again},
    {fork_lock::cpu_caches, claim_cpu_caches, restore_cpu_caches},
};

constexpr std::size_t participants_at_rest = std::size(participants);
constexpr std::size_t participants_always = participants_at_rest - 1;

constexpr bool participants_keep_the_order() {
  const fork_lock* next = fork_order;
  for (const participant& each : participants) {
    while (next != fork_order + fork_order_length && *next != each.what)
      ++next;
    if (next == fork_order + fork_order_length)
      return false;
  }
  return true;
}
static_assert(participants_keep_the_order());

// --- Who forks --------------------------------------------------------------------------------

enum class standing : std::uint8_t {
  none,
  alone,       // prepared, with nothing to take: there is one thread
  at_rest,     // prepared, and took all participants
  not_at_rest, // the same, but for the last one: somebody did not come to rest
};

// Of the calling thread.
struct fork_status {
  standing now = standing::none;
  std::uint8_t nested = 0;         // forks in signal handlers, which took at most the streams
  std::uint8_t nested_streams = 0; // one bit for each of the newest of them: it did
  bool child_is_in_order = false;  // before its handler ran
};
[[gnu::tls_model("initial-exec")]] constinit thread_local fork_status status;

constinit std::atomic<bool> has_vanished_threads{false};

std::size_t participants_taken() {
  return status.now == standing::at_rest       ? participants_at_rest
         : status.now == standing::not_at_rest ? participants_always
                                               : 0;
}

void give_back() {
  for (std::size_t count = participants_taken(); count-- != 0;)
    participants[count].parent();
  status.now = standing::none;
}

// Takes the participants and waits until all threads are at rest.
void take() {
  constexpr std::uint32_t attempt_ms = 20, all_attempts_ms = 1000, longest_pause_ms = 50;
  const std::uint32_t since_ms = os::coarse_now_ms();
  for (std::uint32_t pause_ms = 1;; pause_ms = std::min(2 * pause_ms, longest_pause_ms)) {
    status.now = standing::not_at_rest;
    for (std::size_t index = 0; index < participants_always; ++index)
      participants[index].prepare();
    if (gate::await_rest(attempt_ms)) {
      participants[participants_always].prepare();
      status.now = standing::at_rest;
      return;
    }
    if (os::coarse_now_ms() - since_ms > all_attempts_ms)
      return;
    give_back();
    os::rest_for(pause_ms);
  }
}

// The C library will take the list of streams, after its list of handlers. Other threads that fork
// take these two in the opposite order, because of mete: so do it here as well.
void prepare_nested() {
  const bool takes_streams = !os::is_single_threaded();
  if (takes_streams)
    os::lock_streams();
  status.nested_streams = static_cast<std::uint8_t>(status.nested_streams << 1 | takes_streams);
  ++status.nested;
}

void end_nested(bool in_child) {
  if ((status.nested_streams & 1) != 0)
    in_child ? os::reset_streams_in_child() : os::unlock_streams();
  status.nested_streams >>= 1;
  --status.nested;
}

void prepare() {
  status.child_is_in_order = false;
  if (status.nested != 0 || status.now != standing::none || gate::is_inside())
    return prepare_nested();
  status.now = standing::alone;
  if (os::is_single_threaded())
    return;
  take();
}

void parent() {
  if (status.nested != 0)
    return end_nested(false);
  give_back();
  run_deferred_work();
}

// --- The child --------------------------------------------------------------------------------

// Frees the locks of threads that do not exist here. True if what one of them guards may be half
// changed.
bool reset_shared_locks() {
  bool torn = page::reset_regions_lock_in_child();
  torn = page::reset_metadata_lock_in_child() || torn;
  torn = heap::reset_mappings_lock_in_child() || torn;
  torn = heap::reset_registry_lock_in_child() || torn;
  // This one guards the order of maintenance and no structure of its own.
  maintenance_lock.reset_in_child();
  return torn;
}

// As above, for heaps. `at_rest`: nobody was inside of any.
bool reset_heaps(bool at_rest) {
  bool torn = false;
  const bool inside = gate::is_inside();
  heap::for_each_heap([&](heap::heap& h) {
    const bool is_own = &h == heap::this_thread.owned;
    h.purging.store(false, std::memory_order_relaxed);
    const bool users_vanished = h.shared_lock != nullptr && h.shared_lock->reset_in_child();
    // Whether the caller may be inside, in what a signal handler interrupted.
    const bool may_be_in = is_own || &h == heap::entered_cpu_heap() ||
                           (h.shared_lock != nullptr && h.shared_lock->is_held_by_caller());
    if (!(h.lock.reset_in_child(may_be_in) || users_vanished) || at_rest)
      return;
    if (h.serves_cpu() || h.shared_lock != nullptr || (is_own && inside))
      torn = true;
    else
      heap::set_aside(h);
    if (is_own && !inside) // it allocates as if for the first time
      heap::this_thread = heap::make_unknown_thread();
  });
  return torn;
}

// `at_rest`: no thread was inside of the gate. `stays_closed`: the caller will open it again.
// `handlers_ran`: the C library knows of the fork. `had_threads`: the parent, for all that is
// known.
void start_child(bool at_rest, bool stays_closed, bool handlers_ran = true,
                 bool had_threads = true) {
  const int saved_errno = errno;
  if (had_threads)
    has_vanished_threads.store(true, std::memory_order_relaxed);
  os::initialise_barriers(); // or they stay fences
  reset_initialisation_in_child();
  const bool locks_torn = reset_shared_locks() && !at_rest;
  const bool heaps_torn = reset_heaps(at_rest);
  if (!gate::reset_in_child(stays_closed) || locks_torn || heaps_torn)
    gate::close_for_good();
  heap::abandon_all_but(heap::this_thread.owned);
  forget_other_threads();
  forget_background_thread();
  if (!handlers_ran)
    await_thread_for_background();
  reset_deferred_work_in_child(!at_rest);
  errno = saved_errno;
}

void child() {
  if (status.child_is_in_order) {
    status.child_is_in_order = false;
    return;
  }
  if (status.nested != 0) {
    end_nested(true);
    const bool took = participants_taken() != 0;
    start_child(false, took);
    if (took) // again, for the fork that was interrupted
      os::lock_streams();
    return;
  }
  const bool alone = status.now == standing::alone;
  const bool at_rest = status.now != standing::not_at_rest;
  if (participants_taken() != 0)
    os::reset_streams_in_child();
  if (status.now == standing::at_rest)
    restore_cpu_caches();
  status.now = standing::none;
  start_child(at_rest, false, true, !alone);
  run_deferred_work();
}

} // namespace

void register_for_fork() {
  static constinit std::atomic<bool> registered{false};
  if (!registered.exchange(true, std::memory_order_relaxed))
    os::register_fork_handlers(prepare, parent, child);
}

bool threads_vanished() {
  return has_vanished_threads.load(std::memory_order_relaxed);
}

void put_child_in_order() {
  const bool handler_will_run = status.now != standing::none || status.nested != 0;
  if (!handler_will_run)
    return start_child(false, false, false);
  child();
  status.child_is_in_order = true;
}

} // namespace mete::front
