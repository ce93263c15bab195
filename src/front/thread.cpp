// SPDX-License-Identifier: MIT
#include "front/thread.hpp"

#include "front/initialise.hpp"
#include "front/on_cpu.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "os/thread.hpp"

namespace mete::front {
namespace {

constinit std::atomic<heap::heap*> shared_heap{nullptr}; // made when it is needed first

heap::heap* make_shared_heap() {
  heap::heap* const made = heap::create_shared_heap();
  heap::heap* first = nullptr;
  if (made == nullptr ||
      shared_heap.compare_exchange_strong(first, made, std::memory_order_acq_rel))
    return made;
  heap::destroy_shared_heap(*made);
  return first;
}

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

shared_heap_guard::shared_heap_guard() : heap_(shared_heap.load(std::memory_order_acquire)) {
  if (heap_ == nullptr)
    heap_ = make_shared_heap();
  if (heap_ != nullptr)
    heap_->shared_lock->lock();
}

shared_heap_guard::~shared_heap_guard() {
  if (heap_ == nullptr)
    return;
  heap_->deliver_outbox(); // nobody may come by again
  heap_->shared_lock->unlock();
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
