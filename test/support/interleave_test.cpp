// The explorer itself: that it counts right, finds what it must, and passes what is correct.
//
// SPDX-License-Identifier: MIT
#include "interleave.hpp"

#include <gtest/gtest.h>

namespace mete::interleave {
namespace {

struct two_counters {
  static constexpr std::size_t thread_count = 2;
  std::array<modelled_atomic<int>, 2> counters;
  void thread(std::size_t index) {
    for (int round = 0; round < 4; ++round) {
      counters[index].fetch_add(1);
    }
  }
  void finish() { check(counters[0].peek() == 4 && counters[1].peek() == 4, "a count is lost"); }
};

TEST(Interleave, CountsEverySchedule) {
  options settings;
  settings.merge_states = false;
  const outcome all = explore<two_counters>(settings);
  EXPECT_TRUE(all.passed) << all.report;
  EXPECT_EQ(all.executions, 70U); // 8 over 4
  EXPECT_EQ(all.completed, 70U);

  settings.max_preemptions = 0;
  EXPECT_EQ(explore<two_counters>(settings).executions, 2U);
  settings.max_preemptions = 1; // one interrupts the other at one of 3 places, or not at all
  EXPECT_EQ(explore<two_counters>(settings).executions, 8U);
}

TEST(Interleave, MergesWhatCommutes) {
  const outcome merged = explore<two_counters>({});
  EXPECT_TRUE(merged.passed) << merged.report;
  EXPECT_EQ(merged.completed, 2U); // by whoever is last; the end is no state to merge in
  EXPECT_EQ(merged.states, 24U);   // how far each is, 5 * 5, but the end
}

struct lost_update {
  static constexpr std::size_t thread_count = 2;
  modelled_atomic<int> counter{0};
  void thread(std::size_t) { counter.store(counter.load() + 1); }
  void finish() { check(counter.peek() == 2, "an update is lost"); }
};

TEST(Interleave, FindsALostUpdateAndTellsHow) {
  const outcome result = explore<lost_update>({});
  EXPECT_FALSE(result.passed);
  EXPECT_EQ(result.failure, "an update is lost");
  EXPECT_NE(result.report.find("thread 1"), std::string::npos);
  EXPECT_NE(result.report.find("0x0 -> 0x1"), std::string::npos);
  options calm;
  calm.max_preemptions = 0;
  EXPECT_TRUE(explore<lost_update>(calm).passed);
}

// Dekker's entry, correct under sequential consistency only if both raise their flag first.
template <bool flag_first>
struct dekker {
  static constexpr std::size_t thread_count = 2;
  std::array<modelled_atomic<int>, 2> flags;
  modelled_atomic<int> inside{0};
  void thread(std::size_t index) {
    if (flag_first) {
      flags[index].store(1);
    }
    if (flags[1 - index].load() == 0) {
      if (!flag_first) {
        flags[index].store(1);
      }
      check(inside.fetch_add(1) == 0, "two are inside");
    }
  }
  void finish() {}
};

TEST(Interleave, TellsRightFromWrongMutualExclusion) {
  EXPECT_TRUE(explore<dekker<true>>({}).passed);
  EXPECT_FALSE(explore<dekker<false>>({}).passed);
}

struct message {
  static constexpr std::size_t thread_count = 2;
  std::memory_order publish;
  std::memory_order receive;
  modelled_plain<int> payload{0};
  modelled_atomic<int> ready{0};
  message(std::memory_order release, std::memory_order acquire)
      : publish(release), receive(acquire) {}
  void thread(std::size_t index) {
    if (index == 0) {
      payload = 7;
      ready.store(1, publish);
    } else if (ready.load(receive) == 1) {
      check(payload == 7, "the payload is not there");
    }
  }
  void finish() {}
};

TEST(Interleave, KnowsMemoryOrders) {
  using enum std::memory_order;
  EXPECT_TRUE(explore<message>({}, release, acquire).passed);
  EXPECT_TRUE(explore<message>({}, seq_cst, seq_cst).passed);
  EXPECT_EQ(explore<message>({}, relaxed, acquire).failure,
            "data race: no order between two accesses, one of them plain");
  EXPECT_FALSE(explore<message>({}, release, relaxed).passed);
}

// A relaxed read-modify-write in between keeps a release sequence alive, a relaxed store ends it.
template <bool store_between>
struct release_sequence {
  static constexpr std::size_t thread_count = 3;
  modelled_plain<int> payload{0};
  modelled_atomic<int> ready{0};
  void thread(std::size_t index) {
    if (index == 0) {
      payload = 7;
      ready.store(1, std::memory_order_release);
    } else if (index == 1) {
      ready.wait_until([](int value) { return value == 1; }, std::memory_order_relaxed);
      if (store_between) {
        ready.store(2, std::memory_order_relaxed);
      } else {
        ready.fetch_add(1, std::memory_order_relaxed);
      }
    } else {
      ready.wait_until([](int value) { return value == 2; }, std::memory_order_acquire);
      check(payload == 7, "the payload is not there");
    }
  }
  void finish() {}
};

TEST(Interleave, KnowsReleaseSequences) {
  const outcome kept = explore<release_sequence<false>>({});
  EXPECT_TRUE(kept.passed) << kept.report;
  EXPECT_FALSE(explore<release_sequence<true>>({}).passed);
}

struct reused_memory {
  static constexpr std::size_t thread_count = 2;
  bool joined;
  modelled_atomic<int> word{0};
  modelled_atomic<int> done{0};
  explicit reused_memory(bool join) : joined(join) {}
  void thread(std::size_t index) {
    if (index == 0) {
      word.fetch_add(1);
      done.store(1);
      return;
    }
    if (joined) {
      done.wait_until([](int value) { return value == 1; });
    }
    word.reset(0);
  }
  void finish() {}
};

TEST(Interleave, FindsAnAccessToMemoryInAnotherLife) {
  EXPECT_TRUE(explore<reused_memory>({}, true).passed);
  EXPECT_FALSE(explore<reused_memory>({}, false).passed);
}

struct two_locks {
  static constexpr std::size_t thread_count = 2;
  std::array<modelled_atomic<int>, 2> locks;
  void lock(std::size_t which) {
    int expected = 0;
    while (!locks[which].compare_exchange_strong(expected, 1, std::memory_order_acquire,
                                                 std::memory_order_relaxed)) {
      locks[which].wait_until([](int value) { return value == 0; });
      expected = 0;
    }
  }
  void thread(std::size_t index) {
    lock(index);
    lock(1 - index);
    locks[index].store(0);
    locks[1 - index].store(0);
  }
  void finish() {}
};

TEST(Interleave, FindsADeadlock) {
  EXPECT_EQ(explore<two_locks>({}).failure, "deadlock: every thread waits");
}

struct spinner {
  static constexpr std::size_t thread_count = 1;
  modelled_atomic<int> never{0};
  void thread(std::size_t) {
    while (never.load() == 0) {
    }
  }
  void finish() {}
};

TEST(Interleave, FindsALivelock) {
  EXPECT_EQ(explore<spinner>({}).failure, "livelock: the run exceeds max_steps");
}

struct vanishing {
  static constexpr std::size_t thread_count = 2;
  std::array<modelled_atomic<int>, 2> counters;
  void thread(std::size_t index) {
    if (index == 0) {
      vanish_after(2);
    }
    for (int round = 0; round < 4; ++round) {
      counters[index].fetch_add(1);
    }
  }
  void finish() { check(counters[0].peek() == 2 && counters[1].peek() == 4, "wrong counts"); }
};

TEST(Interleave, CutsAThreadOff) {
  const outcome result = explore<vanishing>({});
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(Interleave, GivesUpAloud) {
  options settings;
  settings.merge_states = false;
  settings.max_executions = 10;
  EXPECT_FALSE(explore<two_counters>(settings).passed);
}

} // namespace
} // namespace mete::interleave
