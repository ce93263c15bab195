// SPDX-License-Identifier: MIT
#include "front/gate.hpp"

#include "base/futex.hpp"
#include "base/lock.hpp"
#include "front/fork.hpp"
#include "heap/registry.hpp"
#include "os/fork.hpp"
#include "os/system.hpp"
#include "os/thread.hpp"

namespace mete::front {
namespace gate {
namespace {

constinit std::atomic<std::uint32_t> plain_word{open};
constinit std::atomic<std::atomic<std::uint32_t>*> wiped_word{nullptr};

// Guards the next word and every change of the two above, except from closed to overdue.
constinit ranked_lock words_lock{lock_rank::gate};
constinit unsigned closers = 0;

// Threads without a heap that are inside, counted in one of these by the thread's address, so that
// threads on different processors rarely share a cache line.
struct alignas(cache_line_bytes) counter {
  std::atomic<std::uint32_t> inside{0};
};
constexpr unsigned counters_shift = 5;
constinit counter counters[1 << counters_shift];

// The calling thread and the counters. `changing`: a counter has just been changed or is about to
// be, which a signal handler cannot tell apart.
enum presence : std::uint8_t { outside, changing, inside };

struct thread_at_gate {
  std::atomic<std::uint8_t> presence{outside}; // atomic for signal handlers only
  bool closes = false;
  bool waits = false;
};
[[gnu::tls_model("initial-exec")]] constinit thread_local thread_at_gate self;

std::uint32_t look() {
  return word.load(std::memory_order_acquire)->load(std::memory_order_seq_cst);
}

// Threads that wait, or are about to try again. Whoever wants to close the gate lets them in first:
// otherwise those who fork all the time would leave none to the others.
constinit std::atomic<std::uint32_t> waiting_threads{0};
constexpr std::uint32_t courtesy_ms = 4;

class [[nodiscard]] waiting_scope {
public:
  waiting_scope() : counted_(!self.waits) {
    if (counted_)
      waiting_threads.fetch_add(1, std::memory_order_relaxed);
    self.waits = true;
  }
  ~waiting_scope() {
    if (!counted_)
      return;
    self.waits = false;
    waiting_threads.fetch_sub(1, std::memory_order_relaxed);
  }
  waiting_scope(const waiting_scope&) = delete;
  waiting_scope& operator=(const waiting_scope&) = delete;

private:
  bool counted_;
};

void let_waiting_threads_in() {
  const std::uint32_t since_ms = os::coarse_now_ms();
  while (waiting_threads.load(std::memory_order_relaxed) != 0 && look() == open &&
         os::coarse_now_ms() - since_ms <= courtesy_ms)
    os::rest_briefly();
}

counter& own_counter() {
  const auto address = reinterpret_cast<std::uintptr_t>(&self);
  return counters[static_cast<std::uint32_t>((address >> 12) * 0x9e3779b9u) >>
                  (32 - counters_shift)];
}

void set_words(std::uint32_t value) {
  plain_word.store(value, std::memory_order_seq_cst);
  if (auto* const other = wiped_word.load(std::memory_order_acquire); other != nullptr)
    other->store(value, std::memory_order_seq_cst);
}

void give_up_waiting(std::atomic<std::uint32_t>& at) {
  std::uint32_t expected = closed;
  if (at.compare_exchange_strong(expected, overdue, std::memory_order_relaxed))
    futex_wake(at, INT32_MAX);
}

// True if it is worth another try. The caller is outside. Out of line, as all that is rare here.
[[gnu::cold, gnu::noinline]] bool await_opening(std::uint32_t since_ms, std::uint32_t wait_ms) {
  std::atomic<std::uint32_t>& at = *word.load(std::memory_order_acquire);
  const std::uint32_t seen = at.load(std::memory_order_acquire);
  if (seen == open)
    return true;
  if (seen == wiped) {
    put_child_in_order();
    return true;
  }
  if (seen == broken || self.closes)
    return false;
  if (seen == overdue && wait_ms <= patience_ms)
    return false;
  const std::uint32_t waited = os::coarse_now_ms() - since_ms;
  if (waited < wait_ms) {
    futex_wait_for(at, seen, wait_ms - waited);
    return true;
  }
  give_up_waiting(plain_word);
  if (auto* const other = wiped_word.load(std::memory_order_acquire); other != nullptr)
    give_up_waiting(*other);
  return false;
}

bool enter_without_heap(std::uint32_t wait_ms) {
  if (self.presence.load(std::memory_order_relaxed) != outside)
    return false; // in a signal handler that interrupted this thread inside
  const auto step = [](std::uint32_t change, presence now) {
    self.presence.store(changing, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    own_counter().inside.fetch_add(change, std::memory_order_seq_cst);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    self.presence.store(now, std::memory_order_relaxed);
  };
  step(1, inside);
  if (look() == open) [[likely]]
    return true;
  const waiting_scope waiting;
  const std::uint32_t since_ms = os::coarse_now_ms();
  for (;;) {
    step(~std::uint32_t{0}, outside);
    if (!await_opening(since_ms, wait_ms))
      return false;
    step(1, inside);
    if (look() == open)
      return true;
  }
}

void leave_without_heap() {
  self.presence.store(changing, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  own_counter().inside.fetch_sub(1, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  self.presence.store(outside, std::memory_order_relaxed);
}

void leave(heap::heap& own) {
  // release: pairs with the look of whoever closes the gate.
  own.in_gate.store(0, std::memory_order_release);
}

[[gnu::cold, gnu::noinline]] bool enter_slow(heap::heap& own, std::uint32_t wait_ms) {
  const waiting_scope waiting;
  const std::uint32_t since_ms = os::coarse_now_ms();
  for (;;) {
    leave(own);
    if (!await_opening(since_ms, wait_ms) || heap::this_thread.owned != &own)
      return false; // the heap was set aside: the child of a clone found it half changed
    own.in_gate.store(1, std::memory_order_relaxed);
    os::light_barrier();
    if (is_open())
      return true;
  }
}

bool enter(heap::heap& own, std::uint32_t wait_ms) {
  if (is_inside(own)) [[unlikely]]
    return false;
  own.in_gate.store(1, std::memory_order_relaxed);
  os::light_barrier();
  return is_open() || enter_slow(own, wait_ms);
}

// Whoever is inside leaves soon, and does not wake anybody, because leaving must stay cheap.
template <class Word>
bool await_zero(const std::atomic<Word>& presence, std::uint32_t since_ms, std::uint32_t wait_ms) {
  for (unsigned spin = 0; presence.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 200)
      spin_pause();
    else if (os::coarse_now_ms() - since_ms > wait_ms)
      return false;
    else
      os::rest_briefly();
  }
  return true;
}

} // namespace

constinit std::atomic<std::atomic<std::uint32_t>*> word{&plain_word};

bool enter_heap_slow(heap::heap& own) {
  own.lock.leave();
  if (!enter(own, patience_ms))
    return false;
  own.lock.enter();
  leave(own); // the lock says it now
  return true;
}

bool is_inside() {
  const heap::heap* const own = heap::this_thread.owned;
  return self.presence.load(std::memory_order_relaxed) != outside ||
         (own != nullptr && is_inside(*own));
}

void close() {
  self.closes = true;
  if (look() == broken)
    return;
  let_waiting_threads_in();
  {
    lock_guard guard(words_lock);
    if (++closers == 1)
      set_words(closed);
  }
  os::heavy_barrier();
}

bool await_rest(std::uint32_t wait_ms) {
  const std::uint32_t since_ms = os::coarse_now_ms();
  bool rests = true;
  // Heaps come last: threads that are about to get one are seen in the counters.
  for (const counter& each : counters)
    rests = rests && await_zero(each.inside, since_ms, wait_ms);
  // The flag comes before the lock, as in enter_heap_slow().
  heap::for_each_heap([&](heap::heap& h) {
    rests = rests && await_zero(h.in_gate, since_ms, wait_ms) &&
            await_zero(h.lock.presence(), since_ms, wait_ms);
  });
  return rests;
}

void open_again() {
  if (look() != broken) {
    lock_guard guard(words_lock);
    if (--closers == 0)
      set_words(open);
  }
  self.closes = false;
  futex_wake(plain_word, INT32_MAX);
  if (auto* const other = wiped_word.load(std::memory_order_acquire); other != nullptr)
    futex_wake(*other, INT32_MAX);
}

bool reset_in_child(bool stays_closed) {
  const bool was_broken = plain_word.load(std::memory_order_relaxed) == broken;
  const std::uint8_t presence = self.presence.load(std::memory_order_relaxed);
  words_lock.reset_in_child();
  self.closes = stays_closed;
  closers = stays_closed ? 1 : 0;
  waiting_threads.store(self.waits ? 1 : 0, std::memory_order_relaxed);
  for (counter& each : counters)
    each.inside.store(&each == &own_counter() && presence == inside ? 1 : 0,
                      std::memory_order_relaxed);
  heap::for_each_heap([](heap::heap& h) {
    if (&h != heap::this_thread.owned)
      h.in_gate.store(0, std::memory_order_relaxed);
  });
  set_words(was_broken ? broken : stays_closed ? closed : open);
  return presence != changing;
}

void close_for_good() {
  set_words(broken);
}

void watch_for_clones() {
  if (wiped_word.load(std::memory_order_relaxed) != nullptr)
    return;
  std::atomic<std::uint32_t>* const added = os::map_word_wiped_in_child();
  if (added == nullptr)
    return;
  lock_guard guard(words_lock);
  if (wiped_word.load(std::memory_order_relaxed) != nullptr)
    return; // somebody was faster: one page is lost, once
  added->store(plain_word.load(std::memory_order_relaxed), std::memory_order_relaxed);
  wiped_word.store(added, std::memory_order_release);
  word.store(added, std::memory_order_release);
}

} // namespace gate

gate_pass::gate_pass(std::uint32_t wait_ms)
    : own_(heap::this_thread.phase == heap::thread_phase::attached ? heap::this_thread.owned
                                                                   : nullptr),
      entered_(false) {
  entered_ = own_ == nullptr ? gate::enter_without_heap(wait_ms) : gate::enter(*own_, wait_ms);
}

gate_pass::~gate_pass() {
  if (!entered_)
    return;
  if (own_ == nullptr)
    gate::leave_without_heap();
  else
    gate::leave(*own_);
}

} // namespace mete::front
