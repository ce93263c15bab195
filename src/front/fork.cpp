// Before a fork every lock is taken, in the order of ranks, and every heap is at rest: its owner,
// if it wants to go on in a slow path, waits until the parent has forked. Deliveries of remote
// frees run inside the freer's heap, so none is under way either. In the child, heaps of threads
// that do not exist there are abandoned; what those threads had in their caches is lost to it.
//
// SPDX-License-Identifier: MIT
#include "front/fork.hpp"

#include "front/background.hpp"
#include "front/maintenance.hpp"
#include "front/thread.hpp"
#include "heap/mapping.hpp"
#include "heap/registry.hpp"
#include "os/barrier.hpp"
#include "os/thread.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

namespace mete::front {
namespace {

bool is_own(const heap::heap& h) {
  return &h == heap::this_thread.owned;
}

void prepare() {
  maintenance_lock.lock();
  heap::lock_registry_for_fork(); // first: the heaps stay the same until it is unlocked
  heap::for_each_heap([](heap::heap& h) {
    if (h.shared_lock != nullptr)
      h.shared_lock->lock();
  });
  heap::for_each_heap([](heap::heap& h) {
    if (is_own(h))
      h.lock.enter();
    else
      h.lock.claim();
  });
  os::heavy_barrier();
  heap::for_each_heap([](heap::heap& h) {
    if (!is_own(h))
      h.lock.await_outside();
  });
  page::lock_regions_for_fork();
  heap::lock_mappings_for_fork();
  page::lock_metadata_for_fork();
}

void parent() {
  page::unlock_metadata_after_fork(false);
  heap::unlock_mappings_after_fork(false);
  page::unlock_regions_after_fork(false);
  heap::for_each_heap([](heap::heap& h) {
    if (is_own(h))
      h.lock.leave();
    else
      h.lock.restore();
  });
  heap::for_each_heap([](heap::heap& h) {
    if (h.shared_lock != nullptr)
      h.shared_lock->unlock();
  });
  heap::unlock_registry_after_fork(false);
  maintenance_lock.unlock();
}

void child() {
  lock_order_reset();
  os::initialise_barriers(); // or they stay fences
  page::unlock_metadata_after_fork(true);
  heap::unlock_mappings_after_fork(true);
  page::unlock_regions_after_fork(true);
  heap::for_each_heap([](heap::heap& h) {
    h.lock.reset_after_fork();
    h.purging.store(false, std::memory_order_relaxed);
    if (h.shared_lock != nullptr)
      h.shared_lock->reset_after_fork();
  });
  heap::unlock_registry_after_fork(true);
  heap::abandon_all_but(heap::this_thread.owned);
  maintenance_lock.reset_after_fork();
  forget_other_threads();
  forget_background_thread();
}

} // namespace

void register_for_fork() {
  os::register_fork_handlers(prepare, parent, child);
}

} // namespace mete::front
