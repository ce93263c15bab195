// SPDX-License-Identifier: MIT
#include "front/thread.hpp"

#include "front/initialise.hpp"
#include "front/on_cpu.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "os/thread.hpp"

namespace mete::front {
namespace {

constinit ranked_lock shared_lock{lock_rank::explicit_heap};
constinit heap::heap* shared_heap = nullptr; // made when it is needed first

heap::heap* attach_heap() {
  initialise();
  heap::thread_state& thread = heap::this_thread;
  if (wants_cpu_cache()) {
    thread.phase = heap::thread_phase::on_cpu;
    return nullptr;
  }
  heap::heap* const h = heap::acquire_heap(&thread);
  if (h == nullptr)
    return nullptr;
  {
    heap::owner_guard inside(h->lock);
    heap::adopt_cache(*h, thread);
  }
  thread.owned = h;
  thread.tag = h->tag();
  thread.phase = heap::thread_phase::attached;
  // Last, because it may allocate.
  os::arm_thread_exit();
  return h;
}

} // namespace

heap::heap* attach_or_none() {
  return heap::this_thread.phase == heap::thread_phase::unknown ? attach_heap() : nullptr;
}

shared_heap_guard::shared_heap_guard() {
  shared_lock.lock();
  if (shared_heap == nullptr)
    shared_heap = heap::create_shared_heap(shared_lock);
  if (shared_heap != nullptr)
    shared_heap->lock.enter();
}

shared_heap_guard::~shared_heap_guard() {
  if (shared_heap != nullptr) {
    shared_heap->deliver_outbox(); // nobody may come by again
    shared_heap->lock.leave();
  }
  shared_lock.unlock();
}

heap::heap* shared_heap_guard::get() const {
  return shared_heap;
}

void renounce_heap() {
  heap::this_thread.phase = heap::thread_phase::exited;
}

void thread_exit() {
  heap::thread_state& thread = heap::this_thread;
  if (thread.phase != heap::thread_phase::attached)
    return;
  heap::heap* const h = thread.owned;
  {
    heap::owner_guard inside(h->lock);
    heap::leave_cache(*h, thread);
    h->deliver_outbox(); // nothing may be stranded
    h->drain_pending();
    h->release_spare_units();
  }
  thread.phase = heap::thread_phase::exited;
  thread.tag = heap::tag_of_nobody;
  thread.owned = nullptr;
  heap::abandon_heap(*h);
}

} // namespace mete::front
