// What the threads of a ring share, under every interleaving of small programs.
//
// So that the explorer is known to be able to fail here, the same programs run with one memory
// order weakened at a time, and every one of those must be found out.
//
// SPDX-License-Identifier: MIT
#include <mete/detail/ring_index.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <type_traits>
#include <utility>

#include <interleave.hpp>

namespace mete::detail {
namespace {

using interleave::check;
using interleave::modelled_atomic;
using interleave::modelled_memory;
using interleave::modelled_plain;

// ---- memory with one order weakened ------------------------------------------------------------

enum class access { load, store, add, compare };
enum class dropped { acquire, release };

constexpr std::memory_order without(dropped what, std::memory_order order) {
  if (what == dropped::acquire) {
    if (order == std::memory_order_acquire)
      return std::memory_order_relaxed;
    return order == std::memory_order_acq_rel ? std::memory_order_release : order;
  }
  if (order == std::memory_order_release)
    return std::memory_order_relaxed;
  return order == std::memory_order_acq_rel ? std::memory_order_acquire : order;
}

template <class T, access where, dropped what>
class weakened : public modelled_atomic<T> {
  using base = modelled_atomic<T>;
  static constexpr std::memory_order weaken(access here, std::memory_order order) {
    return here == where ? without(what, order) : order;
  }

public:
  using base::base;
  T load(std::memory_order order) const { return base::load(weaken(access::load, order)); }
  void store(T to, std::memory_order order) { base::store(to, weaken(access::store, order)); }
  T fetch_add(T by, std::memory_order order) {
    return base::fetch_add(by, weaken(access::add, order));
  }
  bool compare_exchange_strong(T& expected, T to, std::memory_order success,
                               std::memory_order failure) {
    return base::compare_exchange_strong(expected, to, weaken(access::compare, success), failure);
  }
  bool compare_exchange_weak(T& expected, T to, std::memory_order success,
                             std::memory_order failure) {
    return compare_exchange_strong(expected, to, success, failure);
  }
};

struct sound_memory : modelled_memory {
  static void wait(modelled_atomic<std::uint32_t>& on, std::uint32_t old) {
    on.wait_until([old](std::uint32_t now) { return now != old; });
  }
  static void notify_all(modelled_atomic<std::uint32_t>&) {}
};

// Weakens the atomics of type T: positions have 64 bits, words 32.
template <class T, access where, dropped what>
struct weak_memory : sound_memory {
  template <class U>
  using atomic =
      std::conditional_t<std::is_same_v<U, T>, weakened<U, where, what>, modelled_atomic<U>>;
};

// ---- programs ----------------------------------------------------------------------------------

constexpr std::uint32_t capacity = 4;

// The data that the index is about: one value for each granule.
template <std::size_t Places>
using data = std::array<modelled_plain<int>, Places>;

template <class Index, class Data>
void write(Index& index, Data& bytes, ring_place place, int value) {
  const auto begin = static_cast<std::uint32_t>(index.offset_of(place));
  check(begin + place.granules <= bytes.size(), "a record is in two pieces");
  for (std::uint32_t at = 0; at != place.granules; ++at)
    bytes[begin + at] = value;
}

// Checks that all of the record says the same, and returns it; 0: there is none.
template <class Index, class Data>
int read(Index& index, Data& bytes) {
  const ring_record found = index.front();
  if (!found.ready)
    return 0;
  const int value = bytes[found.offset];
  for (std::uint32_t at = 1; at < Index::granules_for(found.bytes); ++at)
    check(bytes[found.offset + at] == value, "a record has another one's bytes");
  index.pop(found.bytes);
  return value;
}

// A producer writes records of one and two granules, the consumer tries to read.
template <class Memory>
struct one_to_one {
  static constexpr std::size_t thread_count = 2;
  using index_type = one_producer_index<Memory>;
  static constexpr std::uint32_t places = capacity + 2;
  std::array<typename index_type::word, places * index_type::word_stride> words;
  index_type index{words.data(), capacity, places};
  data<places> bytes;
  int written = 0;
  int last_read = 0;

  void thread(std::size_t which) {
    if (which == 0) {
      for (int attempt = 0; attempt != 5; ++attempt) {
        const auto granules = static_cast<std::uint32_t>(1 + attempt % 2);
        const ring_place place = index.reserve(granules);
        if (place.granules == 0)
          continue;
        if (attempt == 1) {
          index.cancel(place);
          continue;
        }
        write(index, bytes, place, written + 1);
        index.commit(place, granules * ring_granule - index_type::header_bytes);
        ++written;
      }
    } else {
      for (int attempt = 0; attempt != 4; ++attempt)
        take();
    }
  }
  void take() {
    const int value = read(index, bytes);
    check(value == 0 || value == last_read + 1, "out of order");
    if (value != 0)
      last_read = value;
  }
  void finish() {
    check(last_read <= written, "a record from nowhere");
    check(written - last_read <= static_cast<int>(capacity), "more than there is room for");
  }
};

// Two producers and a consumer. Each producer writes records of its own, numbered; what is read
// must be in order for each of them, and what is left must be there in the end.
template <class Memory, bool may_pass>
struct two_to_one {
  static constexpr std::size_t thread_count = 3;
  using index_type = many_producers_index<Memory>;
  std::array<typename index_type::word, capacity> words;
  index_type index{words.data(), capacity, may_pass};
  data<capacity> bytes;
  std::array<int, 2> written{};
  std::array<int, 2> last_read{};
  int passed = 0;
  int lost = 0;

  void thread(std::size_t which) {
    if (which < 2)
      produce(which);
    else
      for (int attempt = 0; attempt != 3; ++attempt)
        take();
  }
  void produce(std::size_t which) {
    const int attempts = may_pass && which == 1 ? 1 : 2; // else there are too many schedules
    for (int attempt = 0; attempt != attempts; ++attempt) {
      // 2 granules, of which the first producer commits one.
      const std::uint32_t granules = attempt == 0 ? 2 : 1;
      const ring_place place = index.reserve(granules);
      if (place.granules == 0)
        continue;
      write(index, bytes, place, static_cast<int>(which) * 10 + written[which] + 1);
      const std::uint32_t used = which == 0 ? 1 : granules;
      ++written[which];
      if (!index.commit(place, used * ring_granule))
        ++lost;
    }
  }
  bool take() {
    const int value = read(index, bytes);
    if (value == 0) {
      if (may_pass && index.pass())
        ++passed;
      return false;
    }
    int& last = last_read[static_cast<std::size_t>(value / 10)];
    check(may_pass ? value % 10 > last : value % 10 == last + 1, "out of order");
    last = value % 10;
    return true;
  }
  void finish() {
    while (take()) {
    }
    check(lost == passed, "a producer has not been told that its record was skipped");
    if (!may_pass)
      check(last_read == written, "a record is lost");
    check(index.used() == 0, "a place was not given back");
    for (auto& word : words)
      check(word.peek() == 0, "a word was not cleared");
  }
};

// A consumer sleeps until there is something; whoever wakes it may come at any moment.
template <class Memory>
struct sleeper {
  static constexpr std::size_t thread_count = 3;
  using atomic = typename Memory::template atomic<std::uint64_t>;
  event<Memory> changed;
  std::array<atomic, 2> flags{};
  std::array<modelled_plain<int>, 2> values;

  void thread(std::size_t which) {
    if (which < 2) {
      values[which] = 1;
      flags[which].store(1, std::memory_order_release);
      changed.notify();
    } else {
      changed.wait_until([this] {
        return flags[0].load(std::memory_order_acquire) == 1 &&
               flags[1].load(std::memory_order_acquire) == 1;
      });
      check(values[0] == 1 && values[1] == 1, "woken too early");
    }
  }
  void finish() {}
};

template <class World>
interleave::outcome explored(const char* name) {
  const interleave::outcome result = interleave::explore<World>({});
  std::printf("%-32s %8llu states, %8llu schedules run, %6llu to the end\n", name,
              static_cast<unsigned long long>(result.states),
              static_cast<unsigned long long>(result.executions),
              static_cast<unsigned long long>(result.completed));
  return result;
}

template <class World>
void expect_sound(const char* name) {
  const interleave::outcome result = explored<World>(name);
  EXPECT_TRUE(result.passed) << result.report;
}
template <class World>
void expect_found_out(const char* name) {
  EXPECT_FALSE(explored<World>(name).passed) << name;
}

TEST(ring_index, one_producer) {
  expect_sound<one_to_one<sound_memory>>("one producer");
}

TEST(ring_index, one_producer_needs_its_orders) {
  using positions = std::uint64_t;
  expect_found_out<one_to_one<weak_memory<positions, access::load, dropped::acquire>>>(
      "positions: load without acquire");
  expect_found_out<one_to_one<weak_memory<positions, access::store, dropped::release>>>(
      "positions: store without release");
}

TEST(ring_index, two_producers) {
  expect_sound<two_to_one<sound_memory, false>>("two producers");
}

TEST(ring_index, two_producers_and_records_are_skipped) {
  expect_sound<two_to_one<sound_memory, true>>("two producers, skipping");
}

TEST(ring_index, two_producers_need_their_orders) {
  using positions = std::uint64_t;
  using words = std::uint32_t;
  expect_found_out<two_to_one<weak_memory<positions, access::load, dropped::acquire>, false>>(
      "positions: load without acquire");
  expect_found_out<two_to_one<weak_memory<positions, access::store, dropped::release>, false>>(
      "positions: store without release");
  expect_found_out<two_to_one<weak_memory<words, access::load, dropped::acquire>, false>>(
      "words: load without acquire");
  expect_found_out<two_to_one<weak_memory<words, access::store, dropped::release>, false>>(
      "words: store without release");
  expect_found_out<two_to_one<weak_memory<words, access::compare, dropped::release>, true>>(
      "words: compare without release, skipping");
  expect_found_out<two_to_one<weak_memory<words, access::load, dropped::acquire>, true>>(
      "words: load without acquire, skipping");
}

TEST(ring_index, nobody_sleeps_for_ever) {
  expect_sound<sleeper<sound_memory>>("sleeper");
}

// A sleeper that does not look again after it has said that it sleeps.
template <class Memory>
struct hasty_sleeper : sleeper<Memory> {
  using base = sleeper<Memory>;
  typename Memory::template atomic<std::uint32_t> epoch{0};
  void thread(std::size_t which) {
    if (which < 2) {
      base::flags[which].store(1, std::memory_order_release);
      epoch.store(1, std::memory_order_release);
    } else if (base::flags[0].load(std::memory_order_acquire) == 0) {
      Memory::wait(epoch, epoch.load(std::memory_order_acquire));
    }
  }
};
TEST(ring_index, a_lost_wake_up_is_found_out) {
  expect_found_out<hasty_sleeper<sound_memory>>("hasty sleeper");
}

} // namespace
} // namespace mete::detail
