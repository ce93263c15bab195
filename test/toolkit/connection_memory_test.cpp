// SPDX-License-Identifier: MIT
#include <mete/connection_memory.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

TEST(connection_memory, connections_use_the_shared_buffers) {
  mete::connection_memory memory({.name = "http", .buffer_bytes = 2048});
  EXPECT_STREQ(memory.name(), "http");
  std::vector<mete::box<mete::connection>> open;
  for (int count = 0; count < 100; ++count)
    open.push_back(memory.open());
  EXPECT_EQ(memory.connections(), 100u);
  EXPECT_EQ(memory.buffers(), 0u) << "none before it is needed";
  for (auto& each : open)
    std::memset(each->allocate(1000), 1, 1000);
  EXPECT_EQ(memory.buffers(), 100u);
  for (auto& each : open)
    each->end_request();
  EXPECT_EQ(memory.buffers(), 100u) << "kept for the next request";
  for (auto& each : open)
    each->end_request_and_wait();
  EXPECT_EQ(memory.buffers(), 0u);
  for (auto& each : open)
    static_cast<void>(each->allocate(10));
  open.clear();
  EXPECT_EQ(memory.buffers(), 0u);
  EXPECT_EQ(memory.connections(), 0u);
}

TEST(connection_memory, a_connection_keeps_as_much_as_it_may) {
  mete::heap_source source;
  mete::connection_memory memory(
      {.upstream = &source, .buffer_bytes = 1024, .keep_bytes = 5 * 1024});
  const auto one = memory.open();
  for (int count = 0; count < 100; ++count)
    static_cast<void>(one->allocate(500));
  EXPECT_GE(memory.buffers(), 50u);
  one->end_request();
  EXPECT_LE(memory.buffers(), 5u);
  EXPECT_GE(memory.buffers(), 4u);
  const std::size_t acquisitions = source.usage().acquisitions;
  for (int request = 0; request < 1000; ++request) {
    for (int count = 0; count < 5; ++count)
      static_cast<void>(one->allocate(500));
    one->end_request();
  }
  EXPECT_EQ(source.usage().acquisitions, acquisitions);
}

TEST(connection_memory, what_is_larger_than_a_buffer_comes_from_the_source) {
  mete::heap_source source;
  mete::connection_memory memory({.upstream = &source, .buffer_bytes = 1024});
  const auto one = memory.open();
  static_cast<void>(one->allocate(1'000'000));
  EXPECT_EQ(memory.buffers(), 0u);
  EXPECT_GE(memory.usage().used_bytes, 1'000'000u);
  one->end_request();
  EXPECT_LT(memory.usage().used_bytes, 10'000u);
  EXPECT_LT(source.usage().acquired_bytes, 100'000u);
}

TEST(connection_memory, random_use_agrees_with_the_model) {
  mete::heap_source source;
  {
    mete::connection_memory memory({.upstream = &source, .buffer_bytes = 1024, .keep_bytes = 2048});
    const auto one = memory.open();
    const auto two = memory.open();
    mete::test::model first(*one);
    mete::test::model second(*two);
    std::mt19937_64 random(5);
    for (int step = 0; step < 5000; ++step) {
      ASSERT_TRUE(first.allocate(random() % 2000, std::size_t{1} << random() % 13));
      ASSERT_TRUE(second.allocate(random() % 200, 8));
      if (random() % 50 == 0) {
        first.check_all();
        first.forget_all();
        one->end_request();
      }
      if (random() % 50 == 0) {
        second.check_all();
        second.forget_all();
        two->end_request_and_wait();
      }
    }
  }
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(connection_memory, buffers_go_back_when_they_end) {
  mete::connection_memory memory({.buffer_bytes = 4096});
  {
    mete::connection_buffer one = memory.try_take_buffer();
    ASSERT_TRUE(one);
    EXPECT_EQ(one.bytes().size(), memory.buffer_bytes());
    std::memset(one.bytes().data(), 7, one.bytes().size());
    mete::connection_buffer two = memory.try_take_buffer();
    EXPECT_EQ(memory.buffers(), 2u);
    mete::connection_buffer three = std::move(one);
    EXPECT_FALSE(one); // NOLINT(bugprone-use-after-move): what is left is what is tested
    EXPECT_TRUE(one.bytes().empty());
    two = std::move(three);
    EXPECT_EQ(two.bytes()[4095], std::byte{7});
  }
  EXPECT_EQ(memory.buffers(), 0u);
}

TEST(connection_memory, a_buffer_that_cannot_be_is_empty_or_thrown) {
  mete::connection_memory memory({.name = "http", .buffer_bytes = 4096, .limit_bytes = 300'000});
  std::vector<mete::connection_buffer> taken;
  while (mete::connection_buffer one = memory.try_take_buffer())
    taken.push_back(std::move(one));
  EXPECT_THROW(static_cast<void>(memory.take_buffer()), mete::out_of_memory);
  const std::size_t most = taken.size();
  taken.pop_back();
  EXPECT_EQ(memory.take_buffer().bytes().size(), 4096u);
  taken.push_back(memory.take_buffer());
  EXPECT_EQ(memory.buffers(), most);
}

TEST(connection_memory, trim_gives_back_what_nothing_lives_in) {
  mete::heap_source source;
  mete::connection_memory memory({.upstream = &source});
  {
    const auto one = memory.open();
    static_cast<void>(one->allocate(100));
    std::size_t visited = 0;
    memory.for_each([&](mete::connection& each) { visited += &each == one.get(); });
    EXPECT_EQ(visited, 1u);
  }
  EXPECT_GT(memory.usage().reserved_bytes, 0u);
  EXPECT_EQ(memory.usage().used_bytes, 0u);
  memory.trim();
  EXPECT_LT(source.usage().acquired_bytes, 1000u) << "what knows stale handles stays";
}

TEST(connection_memory, the_limit_holds) {
  mete::connection_memory memory({.name = "http", .limit_bytes = 1'000'000});
  const auto one = memory.open();
  mete::test::expect_exhaustion_is_told(*one, 2'000'000);
  mete::test::expect_impossible_requests_fail(*one);
  mete::test::expect_alignments(*one, 100);
  while (one->try_allocate(10'000) != nullptr) {
  }
  EXPECT_LE(memory.usage().reserved_bytes, 1'000'000u);
  one->end_request();
  EXPECT_NE(one->try_allocate(10'000), nullptr);
}

TEST(connection_memory, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::connection_memory memory({.upstream = &source, .buffer_bytes = 1024});
    std::vector<mete::box<mete::connection>> open;
    for (int count = 0; count < 100; ++count) {
      if (auto one = memory.try_open()) {
        static_cast<void>(one->try_allocate(static_cast<std::size_t>(count) * 50));
        open.push_back(std::move(one));
      }
      const auto buffer = memory.try_take_buffer();
      EXPECT_EQ(buffer.bytes().empty(), !buffer);
    }
  });
}

} // namespace
