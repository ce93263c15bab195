// The order of locks around a fork (front/fork_order.hpp), in every interleaving of a fork with two
// other threads: none may end in a circle. To see that the model can tell, the orders that hung
// before are tried as well.
//
// SPDX-License-Identifier: MIT
#include "front/fork_order.hpp"

#include "interleave.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

namespace mete::front {
namespace {

using interleave::modelled_atomic;
using interleave::options;

using sequence = std::vector<fork_lock>;

struct scene {
  sequence fork = {std::begin(fork_order), std::end(fork_order)};
  thread_order others[2] = {};
  bool patient = true; // threads wait at the gate for as long as it takes
};

class forking_world {
public:
  static constexpr std::size_t thread_count = 3;
  static const char* thread_name(std::size_t index) { return index == 0 ? "fork" : "other"; }

  explicit forking_world(const scene* plays) : plays_(*plays) {}

  void thread(std::size_t index) {
    if (index == 0)
      fork();
    else
      follow(plays_.others[index - 1]);
  }

  void finish() {
    for (const auto& each : held_)
      interleave::check(each.peek() == 0, "a lock is left behind");
    interleave::check(inside_.peek() == 0 && closed_.peek() == 0, "the gate is left closed");
  }

private:
  modelled_atomic<int>& word(fork_lock what) { return held_[static_cast<std::size_t>(what)]; }

  void take(fork_lock what) {
    int expected = 0;
    do {
      word(what).wait_until([](int holders) { return holders == 0; });
      expected = 0;
    } while (!word(what).compare_exchange_strong(expected, 1, std::memory_order_acquire,
                                                 std::memory_order_relaxed));
  }
  void give_back(fork_lock what) { word(what).store(0, std::memory_order_release); }

  void fork() {
    std::size_t taken = 0;
    bool tried = false;
    while (taken < plays_.fork.size()) {
      const fork_lock what = plays_.fork[taken++];
      if (what != fork_lock::gate) {
        take(what);
        if (!is_kept_by_fork(what))
          give_back(what);
        continue;
      }
      closed_.store(1);
      if (inside_.load() == 0 || tried)
        continue;
      // Somebody may be inside who waits for what was taken; but other libraries keep theirs. The
      // real one tries for a second, this one once more.
      tried = true;
      const auto streams = std::find(plays_.fork.begin(), plays_.fork.end(), fork_lock::streams);
      const auto first = static_cast<std::size_t>(streams - plays_.fork.begin());
      const std::size_t again = std::min(taken - 1, first);
      give_back_until(taken, again);
      taken = again;
    }
    give_back_until(taken, 0);
  }

  void give_back_until(std::size_t taken, std::size_t first) {
    while (taken-- != first)
      if (plays_.fork[taken] == fork_lock::gate)
        closed_.store(0);
      else if (is_kept_by_fork(plays_.fork[taken]))
        give_back(plays_.fork[taken]);
  }

  // False if the thread lost its patience.
  bool enter() {
    for (;;) {
      inside_.fetch_add(1);
      if (closed_.load() == 0)
        return true;
      inside_.fetch_add(-1);
      if (!plays_.patient)
        return false;
      closed_.wait_until([](int closed) { return closed == 0; });
    }
  }

  void follow(const thread_order& order) {
    bool entered = false;
    std::size_t taken = 0;
    for (; taken < order.count; ++taken)
      if (order.locks[taken] != fork_lock::gate)
        take(order.locks[taken]);
      else if (entered = enter(); !entered)
        break; // served by the emergency arena, without what comes behind the gate
    while (taken-- != 0)
      if (order.locks[taken] != fork_lock::gate)
        give_back(order.locks[taken]);
      else
        inside_.fetch_add(-1);
  }

  scene plays_;
  modelled_atomic<int> held_[static_cast<std::size_t>(fork_lock::loader) + 1];
  modelled_atomic<int> closed_{0};
  modelled_atomic<int> inside_{0};
};

// One other thread in every interleaving; two in those with few preemptions, because all of them
// take minutes. (A circle of n threads needs n - 1.)
interleave::outcome play(const scene& plays) {
  options settings;
  settings.max_preemptions = plays.others[1].count == 0 ? -1 : 3;
  return interleave::explore<forking_world>(settings, &plays);
}

// Plays all pairs of threads; those that end in a circle.
std::vector<std::string> circles(scene plays, bool with_all) {
  std::vector<std::string> found;
  for (const thread_order& one : thread_orders)
    for (const thread_order& other : thread_orders) {
      if (&other < &one)
        continue;
      if (!with_all && (one.needs_patience || other.needs_patience))
        continue;
      plays.others[0] = one;
      plays.others[1] = other;
      if (const interleave::outcome result = play(plays); !result.passed)
        found.push_back(std::string(one.who) + " and " + other.who + ": " + result.failure);
    }
  return found;
}

// The order with `what` moved behind the gate.
sequence too_late(fork_lock what) {
  sequence changed(std::begin(fork_order), std::end(fork_order));
  changed.erase(std::find(changed.begin(), changed.end(), what));
  changed.insert(std::find(changed.begin(), changed.end(), fork_lock::gate) + 1, what);
  return changed;
}

std::string text_of(const std::vector<std::string>& found) {
  std::string text;
  for (const std::string& each : found)
    text += each + "\n";
  return text;
}

TEST(fork_order_test, no_order_of_locks_ends_in_a_circle) {
  const auto found = circles({}, false);
  EXPECT_TRUE(found.empty()) << text_of(found);
}

TEST(fork_order_test, each_order_that_needs_the_patience_ends_by_it) {
  for (const thread_order& each : thread_orders) {
    scene plays;
    plays.others[0] = each;
    EXPECT_EQ(play(plays).passed, !each.needs_patience) << each.who;
  }
  scene impatient;
  impatient.patient = false;
  const auto found = circles(impatient, true);
  EXPECT_TRUE(found.empty()) << text_of(found);
}

TEST(fork_order_test, the_list_of_streams_behind_the_gate_is_a_circle) {
  scene plays;
  plays.fork = too_late(fork_lock::streams);
  EXPECT_FALSE(circles(plays, false).empty());
  plays.patient = false;
  EXPECT_TRUE(circles(plays, true).empty());
}

TEST(fork_order_test, other_libraries_handlers_behind_the_gate_are_a_circle) {
  scene plays;
  plays.fork = too_late(fork_lock::other_libraries);
  EXPECT_FALSE(circles(plays, false).empty());
  plays.patient = false;
  EXPECT_TRUE(circles(plays, true).empty());
}

} // namespace
} // namespace mete::front
