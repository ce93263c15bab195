// SPDX-License-Identifier: MIT
#include "front/thread.hpp"

#include "front/deferred_work.hpp"
#include "front/gate.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "front/on_cpu.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "os/fork.hpp"
#include "os/thread.hpp"

namespace mete::front {
namespace {

constinit std::atomic<heap::heap*> shared_heap{nullptr}; // made when it is needed first
constinit std::atomic<unsigned> threads{0};

// From now on the thread is known, and so is its end. May allocate.
void count_thread() {
  if (os::arm_thread_exit())
    threads.fetch_add(1, std::memory_order_relaxed);
}

void discount_thread() {
  if (threads.fetch_sub(1, std::memory_order_seq_cst) == 2)
    one_thread_is_left();
}

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
  heap::thread_state& thread = heap::this_thread;
  gate_pass passed;
  if (!passed)
    return nullptr;
  initialise();
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
  return h;
}

// The end of a thread, when its cache can be left: `thread` is its state, or a copy.
void leave_heap(heap::heap& h, heap::thread_state& thread) {
  {
    heap::owner_guard inside(h.lock);
    heap::leave_cache(h, thread);
    h.deliver_outbox(); // nothing may be stranded
    h.drain_pending();
    h.release_spare_units();
    h.report_totals();
    h.thread_has_ended = false;
  }
  heap::abandon_heap(h);
}

// What is left of a thread that ended while it could not pass the gate.
void leave_heap_later(void* copy) {
  auto& thread = *static_cast<heap::thread_state*>(copy);
  if (thread.owned->thread == nullptr)
    return; // abandoned already, in the child of a fork
  if (gate_pass inside; inside)
    leave_heap(*thread.owned, thread);
  else
    defer_with_copy(leave_heap_later, copy, sizeof thread);
}

} // namespace

heap::heap* attach_or_none() {
  if (heap::this_thread.phase != heap::thread_phase::unknown)
    return nullptr;
  heap::heap* const h = attach_heap();
  // Outside of the gate, because both may allocate, or call the system.
  if (!os::is_single_threaded())
    gate::watch_for_clones();
  if (heap::this_thread.phase != heap::thread_phase::unknown)
    count_thread();
  return h;
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

unsigned threads_that_allocate() {
  return threads.load(std::memory_order_seq_cst);
}

void renounce_heap() {
  heap::this_thread.phase = heap::thread_phase::exited;
}

void thread_exit() {
  heap::thread_state& thread = heap::this_thread;
  if (thread.phase == heap::thread_phase::on_cpu)
    return discount_thread();
  if (thread.phase != heap::thread_phase::attached)
    return;
  heap::thread_state left = thread;
  heap::this_thread = heap::make_unknown_thread();
  thread.phase = heap::thread_phase::exited;
  // Without its heap, because the next thread may have that before this one is outside.
  if (gate_pass inside; inside) {
    leave_heap(*left.owned, left);
  } else {
    left.owned->thread_has_ended = true;
    defer_with_copy(leave_heap_later, &left, sizeof left);
  }
  discount_thread();
}

void forget_other_threads() {
  const heap::thread_phase phase = heap::this_thread.phase;
  const bool counts = phase == heap::thread_phase::attached || phase == heap::thread_phase::on_cpu;
  threads.store(counts ? 1 : 0, std::memory_order_relaxed);
}

} // namespace mete::front
