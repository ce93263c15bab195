// Maintenance: what keeps memory from staying where nobody uses it.
//
// Threads count what they do in slow paths and, every so often, tick: they deliver, shrink caches,
// and see whether much is dirty. The real work is the decay round over all heaps and regions, done
// by a background thread that exists only while there is something to give back, or, where that
// thread may not be, by the ticks themselves.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/lock.hpp"
#include "base/options.hpp"
#include "front/gate.hpp"
#include "front/inline_round.hpp"
#include "heap/heap.hpp"

namespace mete::front {

// Held during a decay round and a collection. Whoever takes it is inside of the gate
// (front/gate.hpp).
extern constinit ranked_lock maintenance_lock;

// The maintenance lock for a scope, if it and the gate can be had at once.
class [[nodiscard]] maintenance_turn {
public:
  maintenance_turn() : taken_(inside_ && maintenance_lock.try_lock()) {}
  ~maintenance_turn() {
    if (taken_)
      maintenance_lock.unlock();
  }
  maintenance_turn(const maintenance_turn&) = delete;
  maintenance_turn& operator=(const maintenance_turn&) = delete;

  explicit operator bool() const { return taken_; }

private:
  gate_pass inside_;
  bool taken_;
};

// Runs `work` while the heap is held, whoever's it is. An explicit heap may have been destroyed
// meanwhile; then it is empty, or in another life. REQUIRES: the maintenance lock.
template <class Work>
void with_heap(heap::heap& h, Work work) {
  if (h.shared_lock != nullptr) {
    lock_guard guard(*h.shared_lock);
    return work();
  }
  const bool own = &h == heap::this_thread.owned;
  if (own)
    h.lock.enter();
  else
    h.lock.revoke();
  work();
  if (own)
    h.lock.leave();
  else
    h.lock.restore();
}

enum class slow_path : std::uint8_t { allocation, free };

// Counts one slow path; true when it is time to tick. Growth is paid for by those that allocate.
// REQUIRES: the caller is inside the heap.
inline bool count_slow_path(heap::heap& h, slow_path kind) {
  const std::uint32_t operations = h.operations.load(std::memory_order_relaxed) + 1;
  h.operations.store(operations, std::memory_order_relaxed);
  return operations % 64 == 0 || h.freed_since_tick >= h.tick_bytes ||
         (kind == slow_path::allocation && h.growth_sweep.under_way()) ||
         inline_round_under_way.load(std::memory_order_relaxed);
}

// REQUIRES: the caller's thread owns the heap and holds no lock.
void tick(heap::heap& h);

// The same in two steps, for a processor's heap: inside of it, and with no lock held.
struct tick_result {
  heap::heap* heap = nullptr; // nullptr: no tick
  std::uint32_t now_ms = 0;
  std::size_t freed_bytes = 0; // to slabs, since the last one
  std::size_t grown_bytes = 0; // the slabs' footprint, since then
  bool growing = false;
};
tick_result tick_inside(heap::heap& h, heap::thread_state& cache);
tick_result tick_shared(heap::heap& h); // for a shared heap, inside of it
void finish_tick(const tick_result& ticked);

// The code that called free() or operator delete last in this thread, if that took the slow path.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local const void* freed_from;

// How many calls of free() by the loader's code this thread is in (os/thread.hpp): more than one if
// a signal handler interrupted one.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local unsigned loader_frees;

// After a big block was allocated, or freed, before which there were `dirty_before` dirty bytes:
// keeps the limit on them. REQUIRES: no lock is held.
void after_big_allocation(std::size_t size);
void after_big_free(std::size_t dirty_before);

// Visits all heaps and regions and gives back what was unused for a time, at most `budget` bytes of
// runs; `settle`: in slabs all that is free. Returns the bytes. REQUIRES: the maintenance lock.
std::size_t decay_round(bool settle, std::size_t budget);
std::uint32_t round_interval_ms();
inline std::uint32_t decay_ms() {
  return static_cast<std::uint32_t>(option(options.decay_ms));
}

// A part of such a round, for whoever does it piece by piece: what may be done in a heap at once.
// True if it is not the last in this heap. REQUIRES: the maintenance lock.
bool decay_heap_piece(heap::heap& h, bool settle, heap::sweep_limits limits, std::size_t& purged);
// True if nothing has happened in the heap for so long that there is nothing left to do in it.
bool is_quiet(heap::heap& h);

// Whether memory is given back because an amount falls, before it is old: not where it is wanted to
// stay for long.
inline bool falling_counts() {
  return decay_ms() <= 1000;
}

// All threads of the program but one have ended, and that one may sleep: gives unused memory back.
void one_thread_is_left();

// Empties and purges everything that can be; returns the bytes purged.
std::size_t collect();

// Memory was refused for a block of `size` bytes. Gives back what can be given back; true if
// another attempt may succeed. REQUIRES: no lock is held.
bool relieve(std::size_t size);

} // namespace mete::front
