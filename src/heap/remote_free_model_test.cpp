// The remote-free protocol under every interleaving of small programs (remote_free_model.hpp).
//
// So that the explorer is known to be able to fail here, the same programs run with one thing
// broken at a time (mutants, weakened orders), and every one of those must be found out.
//
// SPDX-License-Identifier: MIT
#include "heap/remote_free_model.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <type_traits>
#include <utility>

namespace mete::heap::model {
namespace {

using interleave::explore;
using interleave::modelled_memory;
using interleave::outcome;

// ---- exhaustive ---------------------------------------------------------------------------------

template <class World, class... Arguments>
outcome explored(const char* name, Arguments... arguments) {
  const outcome result = explore<World>({}, arguments...);
  std::printf("%-40s %8llu states, %8llu schedules run, %6llu to the end\n", name,
              static_cast<unsigned long long>(result.states),
              static_cast<unsigned long long>(result.executions),
              static_cast<unsigned long long>(result.completed));
  return result;
}

TEST(RemoteFreeModel, TwoFreersInDifferentWords) {
  const outcome result =
      explored<one_slab<modelled_memory, correct>>("different words", false, false);
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(RemoteFreeModel, TwoFreersInTheSameWord) {
  const outcome result = explored<one_slab<modelled_memory, correct>>("same word", true, false);
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(RemoteFreeModel, OwnerTakesBitsEarly) {
  const outcome result =
      explored<one_slab<modelled_memory, correct>>("bits taken early", true, true);
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(RemoteFreeModel, TwoSlabsInOppositeOrder) {
  const outcome result = explored<two_slabs<modelled_memory, correct>>("two slabs");
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(RemoteFreeModel, TakeOverWhileFreesAreUnderWay) {
  const outcome result = explored<take_over<modelled_memory, correct>>("take-over");
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(RemoteFreeModel, SlabGivenAwayWhileFreesAreUnderWay) {
  const outcome result = explored<give_away<modelled_memory, correct>>("given away");
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(RemoteFreeModel, SlabGivenAwayBetweenTwoPiecesOfADrain) {
  const outcome result = explored<give_away_taken<modelled_memory, correct>>("given away, taken");
  EXPECT_TRUE(result.passed) << result.report;
}

// ---- memory with one order weakened ------------------------------------------------------------

constexpr std::memory_order without_acquire(std::memory_order order) {
  switch (order) {
  case std::memory_order_acquire:
    return std::memory_order_relaxed;
  case std::memory_order_acq_rel:
    return std::memory_order_release;
  default:
    return order;
  }
}

constexpr std::memory_order without_release(std::memory_order order) {
  switch (order) {
  case std::memory_order_release:
    return std::memory_order_relaxed;
  case std::memory_order_acq_rel:
    return std::memory_order_acquire;
  default:
    return order;
  }
}

// Drops acquire or release from one kind of operation on atomics of one type. In the protocol, the
// type tells which variable it is: count, remote word, list head, owner.
enum class dropped { acquire, release };
enum class access { load, store, add, exchange, bit_or, compare };

template <class Base, access where, dropped what>
class weakened : public Base {
  using value = decltype(std::declval<Base&>().peek());
  static constexpr std::memory_order weaken(access here, std::memory_order order) {
    if (here != where) {
      return order;
    }
    return what == dropped::acquire ? without_acquire(order) : without_release(order);
  }

public:
  using Base::Base;
  value load(std::memory_order order) const { return Base::load(weaken(access::load, order)); }
  void store(value to, std::memory_order order) { Base::store(to, weaken(access::store, order)); }
  value exchange(value to, std::memory_order order) {
    return Base::exchange(to, weaken(access::exchange, order));
  }
  value fetch_add(value by, std::memory_order order) {
    return Base::fetch_add(by, weaken(access::add, order));
  }
  value fetch_or(value bits, std::memory_order order) {
    return Base::fetch_or(bits, weaken(access::bit_or, order));
  }
  bool compare_exchange_weak(value& expected, value to, std::memory_order success,
                             std::memory_order failure) {
    return Base::compare_exchange_weak(expected, to, weaken(access::compare, success), failure);
  }
};

enum class variable { count, word, head, owner };

template <variable which, access where, dropped what>
struct weakened_memory {
  template <class T>
  static constexpr bool is_target =
      which == variable::count  ? std::is_same_v<T, std::uint32_t>
      : which == variable::word ? std::is_same_v<T, std::uint64_t>
      : which == variable::head ? std::is_same_v<T, remote_state<weakened_memory>*>
                                : std::is_same_v<T, pending_list<weakened_memory>*>;
  template <class T>
  using atomic =
      std::conditional_t<is_target<T>, weakened<interleave::modelled_atomic<T>, where, what>,
                         interleave::modelled_atomic<T>>;
  template <class T>
  using plain = interleave::modelled_plain<T>;
};

// ---- mutants: the protocol with one mistake -----------------------------------------------------

struct releases_in_debt : correct {
  template <class Memory>
  static bool is_settled(const remote_state<Memory>&) {
    return true;
  }
};

struct pushes_a_pending_slab : correct {
  template <class Memory>
  static void publish(remote_state<Memory>& slab, std::uint32_t blocks) {
    slab.count.fetch_add(blocks, std::memory_order_acq_rel);
    slab.owner.load(std::memory_order_acquire)->push(slab);
  }
};

struct publishes_before_the_push_only : correct { // looks first, adds later
  template <class Memory>
  static void publish(remote_state<Memory>& slab, std::uint32_t blocks) {
    const bool first = slab.count.load(std::memory_order_acquire) == 0;
    slab.count.fetch_add(blocks, std::memory_order_acq_rel);
    if (first) {
      slab.owner.load(std::memory_order_acquire)->push(slab);
    }
  }
};

struct reads_the_link_late : correct {
  template <class Memory, class Visit>
  static void drain(pending_list<Memory>& list, Visit&& visit) {
    for (remote_state<Memory>* slab = list.take_all(); slab != nullptr; slab = slab->pending_next) {
      visit(*slab);
    }
  }
};

struct takes_bits_before_the_count : correct {
  template <class Memory, class Word, class Sink>
  static collected collect(remote_state<Memory>& slab, Word* words, std::size_t count,
                           Sink&& sink) {
    const std::uint32_t blocks = take_bits(words, count, sink);
    const std::uint32_t counts = slab.count.exchange(0, std::memory_order_acq_rel);
    slab.debt = slab.debt + static_cast<std::int32_t>(blocks) - static_cast<std::int32_t>(counts);
    return {counts, blocks};
  }
};

struct keeps_a_strangers_slab : correct { // collects whatever is on its list
  template <class Memory, class Visit>
  static void drain(pending_list<Memory>& list, Visit&& visit) {
    for (remote_state<Memory>* slab = list.take_all(); slab != nullptr;) {
      remote_state<Memory>* next = slab->pending_next;
      visit(*slab);
      slab = next;
    }
  }
};

struct drops_a_strangers_slab : correct {
  template <class Memory, class Visit>
  static void drain(pending_list<Memory>& list, Visit&& visit) {
    for (remote_state<Memory>* slab = list.take_all(); slab != nullptr;) {
      remote_state<Memory>* next = slab->pending_next;
      if (slab->owner.load(std::memory_order_acquire) == &list) {
        visit(*slab);
      }
      slab = next;
    }
  }
};

// ---- each mistake is found
// -----------------------------------------------------------------------

template <class Memory, class Protocol>
std::string first_failure() {
  std::string failure;
  const auto passes = [&failure](const outcome& result) {
    failure = result.failure;
    return result.passed;
  };
  // The biggest last. Each runs only if those before it found nothing.
  static_cast<void>(passes(explore<one_slab<Memory, Protocol>>({}, false, false)) &&
                    passes(explore<one_slab<Memory, Protocol>>({}, true, false)) &&
                    passes(explore<one_slab<Memory, Protocol>>({}, true, true)) &&
                    passes(explore<take_over<Memory, Protocol>>({})) &&
                    passes(explore<give_away<Memory, Protocol>>({})) &&
                    passes(explore<two_slabs<Memory, Protocol>>({})));
  return failure;
}

template <class Protocol>
void expect_found(const char* name) {
  const std::string failure = first_failure<modelled_memory, Protocol>();
  EXPECT_NE(failure, "") << name << " passes every model";
  EXPECT_EQ(failure.find("gave up"), std::string::npos) << name;
  std::printf("%-40s found: %s\n", name, failure.c_str());
}

TEST(RemoteFreeModel, FindsEachMistake) {
  expect_found<releases_in_debt>("releases in debt");
  expect_found<pushes_a_pending_slab>("pushes a pending slab");
  expect_found<publishes_before_the_push_only>("looks at the count, then adds");
  expect_found<reads_the_link_late>("reads the link late");
  expect_found<takes_bits_before_the_count>("takes bits before the count");
  expect_found<keeps_a_strangers_slab>("keeps a stranger's slab");
  expect_found<drops_a_strangers_slab>("drops a stranger's slab");
}

template <variable which, access where, dropped what>
void expect_needed(const char* name) {
  const std::string failure = first_failure<weakened_memory<which, where, what>, correct>();
  EXPECT_NE(failure, "") << name << " is not needed by any model";
  EXPECT_EQ(failure.find("gave up"), std::string::npos) << name;
  std::printf("%-40s needed: %s\n", name, failure.c_str());
}

TEST(RemoteFreeModel, NeedsEachMemoryOrder) {
  expect_needed<variable::word, access::bit_or, dropped::release>("deliver: release of the bits");
  expect_needed<variable::word, access::exchange, dropped::acquire>("collect: acquire of the bits");
  expect_needed<variable::count, access::add, dropped::release>("publish: release of the count");
  expect_needed<variable::count, access::add, dropped::acquire>("publish: acquire of the count");
  expect_needed<variable::count, access::exchange, dropped::release>(
      "collect: release of the count");
  expect_needed<variable::count, access::exchange, dropped::acquire>(
      "collect: acquire of the count");
  expect_needed<variable::head, access::compare, dropped::release>("push: release of the link");
  expect_needed<variable::head, access::exchange, dropped::acquire>(
      "take_all: acquire of the links");
  expect_needed<variable::owner, access::load, dropped::acquire>(
      "publish, drain: acquire of the owner");
  expect_needed<variable::owner, access::store, dropped::release>(
      "change_owner: release of the owner");
}

} // namespace
} // namespace mete::heap::model
