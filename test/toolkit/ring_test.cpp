// SPDX-License-Identifier: MIT
#include <mete/ring.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/failing_source.hpp"

namespace {

using one = mete::ring<mete::producers::one>;
using many = mete::ring<mete::producers::many>;

static_assert(!std::is_copy_constructible_v<one> && !std::is_move_constructible_v<one>);
static_assert(!std::is_copy_constructible_v<one::reservation>);
static_assert(std::is_nothrow_move_constructible_v<one::reservation>);
static_assert(std::is_nothrow_move_assignable_v<many::record>);

} // namespace

// Every member, also those that nobody calls: Clang 14 did not take them.
template class mete::ring<mete::producers::one>;
template class mete::ring<mete::producers::many>;

namespace {

template <class Ring>
class either_ring : public testing::Test {};
using kinds = testing::Types<one, many>;
TYPED_TEST_SUITE(either_ring, kinds);

bool is_filled(std::span<const std::byte> bytes, std::byte with) {
  return std::all_of(bytes.begin(), bytes.end(), [with](std::byte each) { return each == with; });
}

TYPED_TEST(either_ring, random_use_agrees_with_a_queue) {
  struct expected {
    std::size_t bytes;
    std::byte fill;
  };
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    std::mt19937_64 random(seed);
    TypeParam ring({.capacity_bytes = 1024});
    std::deque<expected> queue;
    std::size_t refused = 0;
    for (int step = 0; step < 50'000; ++step) {
      const auto fill = static_cast<std::byte>(step);
      if (random() % 2 == 0) {
        const std::size_t bytes = random() % (random() % 10 == 0 ? 513 : 60);
        auto reserved = ring.try_reserve(bytes);
        if (!reserved) {
          if (queue.empty()) { // what was taken back has its place until the consumer comes there
            ASSERT_FALSE(ring.try_read());
            ASSERT_TRUE(ring.try_reserve(bytes));
          }
          ++refused;
          continue;
        }
        ASSERT_EQ(reserved.bytes().size(), bytes);
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(reserved.bytes().data()) % 16, 0u);
        std::fill(reserved.bytes().begin(), reserved.bytes().end(), fill);
        const std::size_t kind = random() % 4;
        const std::size_t committed = kind == 0 ? random() % (bytes + 1) : bytes;
        if (kind == 1) {
          reserved.abort();
          ASSERT_FALSE(reserved);
        } else {
          ASSERT_TRUE(reserved.commit(committed));
          ASSERT_FALSE(reserved.commit()) << "twice";
          queue.push_back({committed, fill});
        }
      } else {
        const auto record = ring.try_read();
        ASSERT_EQ(static_cast<bool>(record), !queue.empty());
        if (!record)
          continue;
        ASSERT_EQ(record.bytes().size(), queue.front().bytes);
        ASSERT_TRUE(is_filled(record.bytes(), queue.front().fill));
        queue.pop_front();
      }
      ASSERT_LE(ring.used_bytes(), ring.capacity_bytes());
    }
    EXPECT_GT(refused, 0u);
    ASSERT_EQ(ring.consume([](std::span<std::byte>) {}), queue.size());
    EXPECT_EQ(ring.used_bytes(), 0u);
  }
}

TYPED_TEST(either_ring, never_overwrites_what_has_not_been_read) {
  TypeParam ring({.capacity_bytes = 256});
  int written = 0;
  while (auto reserved = ring.try_reserve(sizeof(int))) {
    std::memcpy(reserved.bytes().data(), &written, sizeof(int));
    reserved.commit();
    ++written;
  }
  EXPECT_EQ(written, 16);
  for (int expected = 0; expected != written; ++expected) {
    const auto record = ring.try_read();
    ASSERT_TRUE(record);
    int found = 0;
    std::memcpy(&found, record.bytes().data(), sizeof(int));
    EXPECT_EQ(found, expected);
    EXPECT_EQ(static_cast<bool>(ring.try_reserve(1)), expected != 0)
        << "the place of a record that is being read is not free";
  }
}

TYPED_TEST(either_ring, the_largest_record_fits_wherever_the_ring_is) {
  TypeParam ring({.capacity_bytes = 1024});
  EXPECT_EQ(ring.max_record_bytes(), 512u);
  for (std::size_t offset = 0; offset != 64; ++offset) {
    ring.try_reserve(1).commit();
    ring.try_read().release();
    auto largest = ring.try_reserve(512);
    ASSERT_TRUE(largest) << offset;
    std::fill(largest.bytes().begin(), largest.bytes().end(), std::byte{7});
    largest.commit();
    EXPECT_TRUE(is_filled(ring.try_read().bytes(), std::byte{7}));
  }
  for (const std::size_t bytes : {std::size_t{513}, SIZE_MAX / 2, SIZE_MAX - 15, SIZE_MAX})
    EXPECT_FALSE(ring.try_reserve(bytes)) << bytes;
}

TYPED_TEST(either_ring, records_of_no_bytes_are_records) {
  TypeParam ring({.capacity_bytes = 64});
  for (int count = 0; count != 4; ++count)
    ASSERT_TRUE(ring.try_reserve(0).commit());
  EXPECT_FALSE(ring.try_reserve(0));
  EXPECT_EQ(ring.consume([](std::span<std::byte> bytes) { EXPECT_TRUE(bytes.empty()); }), 4u);
}

TYPED_TEST(either_ring, reservations_and_records_move) {
  TypeParam ring({.capacity_bytes = 256});
  auto reserved = ring.try_reserve(10);
  auto moved = std::move(reserved);
  EXPECT_TRUE(moved.commit());
  reserved = ring.try_reserve(20);
  moved = std::move(reserved);
  EXPECT_EQ(moved.bytes().size(), 20u);
  moved = {}; // aborts
  auto record = ring.try_read();
  auto same = std::move(record);
  EXPECT_EQ(same.bytes().size(), 10u);
  same = {}; // releases
  EXPECT_FALSE(ring.try_read());
  EXPECT_EQ(ring.used_bytes(), 0u);
}

TYPED_TEST(either_ring, a_record_is_read_even_if_its_reader_throws) {
  TypeParam ring;
  for (int count = 0; count != 2; ++count)
    ring.try_reserve(8).commit();
  EXPECT_THROW(ring.consume([](std::span<std::byte>) { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_EQ(ring.consume([](std::span<std::byte>) {}), 1u);
  for (int count = 0; count != 5; ++count)
    ring.try_reserve(8).commit();
  EXPECT_EQ(ring.consume([](std::span<std::byte>) {}, 3), 3u);
}

TYPED_TEST(either_ring, a_buffer_of_the_caller) {
  std::vector<std::byte> memory(5000);
  {
    TypeParam ring({.buffer = memory});
    EXPECT_EQ(ring.capacity_bytes(), 2048u);
    for (int count = 0; count != 1000; ++count) {
      auto reserved = ring.try_reserve(100);
      const auto* const begin = reserved.bytes().data();
      ASSERT_TRUE(begin >= memory.data() && begin + 100 <= memory.data() + memory.size());
      std::memset(reserved.bytes().data(), 1, 100);
      reserved.commit();
      ring.try_read().release();
    }
  }
  std::memset(memory.data(), 0, memory.size()); // it is the caller's again
  TypeParam too_small({.buffer = std::span(memory).first(30)});
  EXPECT_EQ(too_small.capacity_bytes(), 0u);
  EXPECT_FALSE(too_small.try_reserve(0));
  EXPECT_FALSE(too_small.try_read());
}

TYPED_TEST(either_ring, capacities) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{4097}}) {
    TypeParam ring({.capacity_bytes = bytes});
    EXPECT_GE(ring.capacity_bytes(), bytes);
    EXPECT_LE(ring.capacity_bytes(), std::max(2 * bytes, std::size_t{32}));
    EXPECT_TRUE(ring.try_reserve(ring.max_record_bytes()));
  }
  for (const std::size_t bytes : {std::size_t{0}, SIZE_MAX, SIZE_MAX / 2 + 2, SIZE_MAX - 15}) {
    TypeParam ring({.capacity_bytes = bytes});
    EXPECT_EQ(ring.capacity_bytes(), 0u);
    EXPECT_FALSE(ring.try_reserve(0));
    EXPECT_FALSE(ring.try_read());
  }
}

TYPED_TEST(either_ring, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    TypeParam ring({.upstream = &source});
    if (auto reserved = ring.try_reserve(8))
      reserved.commit();
    EXPECT_EQ(static_cast<bool>(ring.try_read()), ring.capacity_bytes() != 0);
  });
}

TYPED_TEST(either_ring, the_largest_record_fits_in_rings_of_any_size) {
  for (std::size_t capacity = 32; capacity <= 4096; capacity *= 2) {
    TypeParam ring({.capacity_bytes = capacity});
    for (std::size_t offset = 0; offset != capacity / 4; ++offset) {
      ring.try_reserve(offset % 2).commit();
      ring.try_read().release();
      const std::size_t bytes = ring.max_record_bytes();
      if (offset % 3 == 0) // what is taken back must not be in the way
        ring.try_reserve(bytes).abort();
      ring.consume([](std::span<std::byte>) {});
      auto largest = ring.try_reserve(bytes);
      ASSERT_TRUE(largest) << capacity << ", " << offset;
      std::fill(largest.bytes().begin(), largest.bytes().end(), static_cast<std::byte>(offset));
      largest.commit();
      ASSERT_TRUE(is_filled(ring.try_read().bytes(), static_cast<std::byte>(offset)));
      ASSERT_EQ(ring.used_bytes(), 0u);
    }
  }
}

template <class Ring>
void send_through(Ring& ring, std::size_t senders, std::uint64_t per_sender, bool blocking) {
  struct message {
    std::uint64_t sender;
    std::uint64_t number;
  };
  std::vector<std::thread> threads;
  for (std::size_t sender = 0; sender != senders; ++sender) {
    threads.emplace_back([&, sender] {
      std::mt19937_64 random(sender);
      for (std::uint64_t number = 0; number != per_sender;) {
        const std::size_t bytes = sizeof(message) + random() % 100;
        auto reserved = blocking ? ring.reserve(bytes) : ring.try_reserve(bytes);
        if (!reserved) {
          std::this_thread::yield();
          continue;
        }
        if (random() % 16 == 0)
          continue; // taken back
        const message content{sender, number++};
        std::fill(reserved.bytes().begin(), reserved.bytes().end(),
                  static_cast<std::byte>(content.number));
        std::memcpy(reserved.bytes().data(), &content, sizeof(content));
        ASSERT_TRUE(reserved.commit(bytes - random() % 20 % (bytes - sizeof(message) + 1)));
      }
    });
  }
  std::vector<std::uint64_t> next(senders);
  for (std::uint64_t left = senders * per_sender; left != 0;) {
    auto record = blocking ? ring.read() : ring.try_read();
    if (!record) {
      std::this_thread::yield();
      continue;
    }
    message content{};
    ASSERT_GE(record.bytes().size(), sizeof(content));
    std::memcpy(&content, record.bytes().data(), sizeof(content));
    ASSERT_EQ(content.number, next[content.sender]++) << "in order, of each sender";
    ASSERT_TRUE(
        is_filled(record.bytes().subspan(sizeof(content)), static_cast<std::byte>(content.number)));
    --left;
  }
  for (std::thread& each : threads)
    each.join();
  EXPECT_FALSE(ring.try_read());
  EXPECT_EQ(ring.used_bytes(), 0u);
}

TEST(ring_threads, one_producer) {
  one ring({.capacity_bytes = 1024});
  send_through(ring, 1, 50'000, false);
}
TEST(ring_threads, one_producer_that_waits) {
  one ring({.capacity_bytes = 1024, .blocking = true});
  send_through(ring, 1, 50'000, true);
}
TEST(ring_threads, many_producers) {
  many ring({.capacity_bytes = 1024});
  send_through(ring, 4, 10'000, false);
}
TEST(ring_threads, many_producers_that_wait) {
  many ring({.capacity_bytes = 1024, .blocking = true});
  send_through(ring, 4, 10'000, true);
}
TEST(ring_threads, records_are_skipped_and_nobody_is_given_anothers_place) {
  many ring({.capacity_bytes = 1024,
             .on_stall = mete::stalled_producer::skip,
             .stall_limit = std::chrono::nanoseconds(0)});
  std::atomic<std::size_t> told{0};
  std::atomic<int> running{3};
  std::vector<std::thread> threads;
  for (int sender = 0; sender != 3; ++sender) {
    threads.emplace_back([&, sender] {
      std::mt19937 random(static_cast<unsigned>(sender));
      for (int count = 0; count != 10'000; ++count) {
        auto reserved = ring.try_reserve(random() % 200);
        const auto fill = static_cast<std::byte>(random());
        std::fill(reserved.bytes().begin(), reserved.bytes().end(), fill);
        if (random() % 8 == 0)
          std::this_thread::yield();
        ASSERT_TRUE(is_filled(reserved.bytes(), fill)) << "somebody has written there";
        if (reserved && !reserved.commit(reserved.bytes().size() / (1 + random() % 2)))
          ++told;
      }
      --running;
    });
  }
  const auto uniform = [](std::span<std::byte> bytes) {
    EXPECT_TRUE(bytes.empty() || is_filled(bytes, bytes.front()));
  };
  while (running != 0)
    ring.consume(uniform);
  for (std::thread& each : threads)
    each.join();
  ring.consume(uniform);
  EXPECT_EQ(ring.skipped_records(), told);
  EXPECT_EQ(ring.used_bytes(), 0u);
}

TEST(ring_stall, holds_up_what_is_behind) {
  many ring({.capacity_bytes = 256});
  EXPECT_FALSE(ring.stalled());
  auto first = ring.try_reserve(20);
  ring.try_reserve(8).commit();
  EXPECT_FALSE(ring.try_read());
  const auto stall = ring.stalled();
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->bytes, 32u);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_GE(ring.stalled()->waited, std::chrono::milliseconds(2));
  first.commit();
  EXPECT_FALSE(ring.stalled());
  EXPECT_EQ(ring.try_read().bytes().size(), 20u);
  EXPECT_EQ(ring.try_read().bytes().size(), 8u);
  EXPECT_FALSE(ring.stalled());
}

TEST(ring_stall, is_skipped_after_its_time_and_its_place_kept) {
  many ring({.capacity_bytes = 256,
             .on_stall = mete::stalled_producer::skip,
             .stall_limit = std::chrono::milliseconds(1)});
  auto late = ring.try_reserve(16);
  EXPECT_FALSE(ring.try_read());
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_FALSE(ring.try_read());
  EXPECT_EQ(ring.skipped_records(), 0u) << "nothing waits behind it";
  ring.try_reserve(8).commit();
  EXPECT_EQ(ring.try_read().bytes().size(), 8u);
  EXPECT_EQ(ring.skipped_records(), 1u);
  int more = 0; // 224 bytes are free
  while (auto next = ring.try_reserve(16)) {
    EXPECT_NE(next.bytes().data(), late.bytes().data());
    next.commit();
    EXPECT_TRUE(ring.try_read());
    ++more;
  }
  EXPECT_EQ(more, 14);
  EXPECT_FALSE(late.commit(3)) << "it was skipped";
  EXPECT_FALSE(ring.try_read());
  EXPECT_EQ(ring.used_bytes(), 0u);
  EXPECT_TRUE(ring.try_reserve(128));
}

TEST(ring_stall, is_told_once) {
  struct heard {
    int times = 0;
    std::size_t bytes = 0;
  } heard;
  many ring({.capacity_bytes = 256,
             .on_stall = mete::stalled_producer::tell,
             .stall_limit = std::chrono::milliseconds(1),
             .tell_stall =
                 [](const mete::ring_stall& stall, void* context) {
                   auto& by = *static_cast<struct heard*>(context);
                   ++by.times;
                   by.bytes = stall.bytes;
                 },
             .context = &heard});
  for (int round = 1; round != 3; ++round) {
    auto late = ring.try_reserve(48);
    for (int count = 0; count != 3; ++count) {
      EXPECT_FALSE(ring.try_read());
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_EQ(heard.times, round);
    EXPECT_EQ(heard.bytes, 48u);
    late.commit();
    EXPECT_TRUE(ring.try_read());
  }
}

TEST(ring_stall, a_sleeping_consumer_skips_too) {
  many ring({.blocking = true,
             .on_stall = mete::stalled_producer::skip,
             .stall_limit = std::chrono::milliseconds(5)});
  auto late = ring.reserve(16);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ring.reserve(8).commit();
  });
  EXPECT_EQ(ring.read().bytes().size(), 8u);
  other.join();
  EXPECT_FALSE(late.commit());
}

TEST(ring_death_test, misuse) {
  one ring({.name = "log", .capacity_bytes = 256});
  auto reserved = ring.try_reserve(8);
  EXPECT_DEATH(static_cast<void>(ring.try_reserve(8)), "log: reservation");
  EXPECT_DEATH(reserved.commit(9), "log: commit");
  EXPECT_DEATH(static_cast<void>(ring.read()), "log: waiting");
  EXPECT_DEATH(static_cast<void>(ring.reserve(8)), "log: waiting");
  reserved.commit();
  ring.try_reserve(8).commit();
  const auto record = ring.try_read();
  EXPECT_DEATH(static_cast<void>(ring.try_read()), "log: read");
}

} // namespace
