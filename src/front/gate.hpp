// The gate: what every slow path passes, and what a fork closes.
//
//   thread:  inside = 1;  light barrier;  open?         fork:  close;  heavy barrier;
//            yes: go on.  no: inside = 0, step back            wait until nobody is inside
//
// So while a process forks, no thread is inside: no lock is held, nothing is half done, and the
// child finds all in order without knowing the locks. (The barriers are those of os/barrier.hpp.)
//
// A thread that finds the gate closed waits until the fork is over, but not for long: the fork may
// be waiting for this very thread, because fork() takes locks of the C library and runs other
// libraries' handlers meanwhile. After `patience_ms` nobody waits any more for that fork; what
// threads want then comes from the emergency arena (front/emergency.hpp), which needs no lock, and
// what they free is put off. A thread that is inside already, because a signal handler interrupted
// it there, cannot pass either, and neither does one that is between its own prepare and parent
// handlers: for both, the arena is the answer at once. Hence no thread ever waits for itself, and
// no circle of threads that wait for each other lasts.
//
// Who is inside is seen in the thread's heap: in a flag of its own, or in the heap's lock, so that
// entering both takes little more than entering one. A thread without a heap is seen in a counter
// that it shares with others.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/heap.hpp"
#include "os/barrier.hpp"

#include <atomic>
#include <cstdint>

namespace mete::front {

inline constexpr std::uint32_t patience_ms = 10;

namespace gate {

// What the word says. `wiped` is what the child of a fork finds until it has been put in order.
enum state : std::uint32_t { wiped = 0, open, closed, overdue, broken };

// Leads to the word: a variable, or, once there are threads, a page that is wiped in children.
extern constinit std::atomic<std::atomic<std::uint32_t>*> word;

inline bool is_open() {
  // acquire, of the pointer: the page behind it says `open` already. Of the word: what was changed
  // while the gate was closed is seen.
  return word.load(std::memory_order_acquire)->load(std::memory_order_acquire) == open;
}

// All of the following: False if the caller must do without. REQUIRES: `own` is the calling
// thread's heap.

// True of a signal handler that interrupted this thread inside.
inline bool is_inside(const heap::heap& own) {
  return (own.in_gate.load(std::memory_order_relaxed) |
          own.lock.presence().load(std::memory_order_relaxed)) != 0;
}

// Through the gate and into the heap.
[[gnu::cold, gnu::noinline]] bool enter_heap_slow(heap::heap& own);
inline bool enter_heap(heap::heap& own) {
  if (is_inside(own)) [[unlikely]]
    return false;
  own.lock.announce();
  if (own.lock.is_revoked() || !is_open()) [[unlikely]]
    return enter_heap_slow(own);
  return true;
}

// --- For fork.

// The calling thread is inside: a signal handler interrupted it there.
bool is_inside();

// From now on nobody enters, until open_again(). Several threads may close it.
void close();
void open_again();
// True if nobody is inside, false if somebody still is after that time. REQUIRES: close().
[[nodiscard]] bool await_rest(std::uint32_t wait_ms);

// In the child: whoever was inside is outside, but for the calling thread. `stays_closed`: by the
// calling thread, which will open it. Returns false if that cannot be known for sure.
[[nodiscard]] bool reset_in_child(bool stays_closed);
// From now on nobody passes: what is behind the gate was left in disorder.
void close_for_good();

// The process has, or gets, a second thread: from now on children of a bare clone() are noticed.
void watch_for_clones();

} // namespace gate

// Inside of the gate for a scope, if it converts to true: otherwise the caller must do without.
class [[nodiscard]] gate_pass {
public:
  explicit gate_pass(std::uint32_t wait_ms = patience_ms);
  ~gate_pass();
  gate_pass(const gate_pass&) = delete;
  gate_pass& operator=(const gate_pass&) = delete;

  explicit operator bool() const { return entered_; }

private:
  heap::heap* own_; // where the thread is seen; nullptr: in a shared counter
  bool entered_;
};

// Leaves the calling thread's heap, and the gate with it, at the end of a scope. REQUIRES:
// gate::enter_heap(own) was true. (Not in one with this: a flag would cost more than the gate.)
class [[nodiscard]] own_heap_guard {
public:
  explicit own_heap_guard(heap::heap& own) : own_(own) {}
  ~own_heap_guard() { own_.lock.leave(); }
  own_heap_guard(const own_heap_guard&) = delete;
  own_heap_guard& operator=(const own_heap_guard&) = delete;

private:
  heap::heap& own_;
};

} // namespace mete::front
