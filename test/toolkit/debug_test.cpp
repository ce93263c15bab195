// SPDX-License-Identifier: MIT
#include <mete/debug.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <mete/adapt.hpp>
#include <mete/arena.hpp>
#include <mete/compose.hpp>
#include <mete/stack.hpp>

#include "support/containers.hpp"
#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

using mete::arena;
using mete::counted;
using mete::guarded;
using mete::locked;

static_assert(mete::allocator<guarded<arena>>);
static_assert(mete::allocator<counted<arena>>);
static_assert(mete::allocator<locked<arena>>);
static_assert(mete::allocator<locked<counted<guarded<arena>>>>);

// As a program without the sanitizer would: writes that guarded has to find.
#if defined(__clang__)
[[gnu::noinline, clang::no_sanitize("address", "undefined")]]
#else
[[gnu::noinline, gnu::no_sanitize_address]]
#endif
void write_astray(void* block, std::ptrdiff_t offset) {
  static_cast<volatile char*>(block)[offset] = 'x';
}

// ---- guarded ----------------------------------------------------------------------------------

TEST(guarded, random_use_agrees_with_the_model) {
  for (const std::size_t quarantine : {std::size_t{0}, std::size_t{100'000}, SIZE_MAX}) {
    guarded<arena> level({.quarantine_bytes = quarantine, .stack_frames = 0});
    mete::test::exercise(level, {.operations = 10'000, .live_limit = 1000});
    level.check_invariants();
    EXPECT_EQ(level.usage().used_bytes, 0u);
  }
}

TEST(guarded, requests) {
  guarded<arena> level({.inner = {.name = "level"}});
  mete::test::expect_alignments(level, 24);
  mete::test::expect_impossible_requests_fail(level);
  mete::test::expect_exhaustion_is_told(level, SIZE_MAX / 2);
  EXPECT_STREQ(level.name(), "level");
}

TEST(guarded, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    guarded<arena> level(
        {.inner = {.upstream = &source, .first_chunk_bytes = 1024, .max_chunk_bytes = 1024}});
    mete::test::model blocks(level);
    for (std::size_t size = 1; size < 900; size += 100)
      static_cast<void>(blocks.allocate(size, 8));
    blocks.check_all();
    blocks.deallocate_all();
  });
}

TEST(guarded, a_block_needs_as_much_as_it_says) {
  alignas(4096) static std::array<std::byte, 16384> buffer;
  for (const std::size_t alignment : {1u, 16u, 64u, 4096u}) {
    const std::size_t total = 100 + guarded<mete::shared_stack>::extra_bytes(alignment);
    guarded<mete::shared_stack> exact({.inner = {.buffer = std::span(buffer).first(total)}});
    EXPECT_NE(exact.try_allocate(100, alignment), nullptr) << alignment;
    exact.reset();
    guarded<mete::shared_stack> short_of_one(
        {.inner = {.buffer = std::span(buffer).first(total - 1)}});
    EXPECT_EQ(short_of_one.try_allocate(100, alignment), nullptr) << alignment;
  }
}

TEST(guarded, blocks_stay_in_quarantine_for_a_while) {
  guarded<mete::shared_stack> level({.inner = {.bytes = 100'000}, .quarantine_bytes = 5'000});
  void* const first = level.allocate(100);
  level.deallocate(first, 100);
  EXPECT_GT(level.get().usage().used_bytes, 0u) << "the inner allocator has not got it";
  EXPECT_EQ(level.usage().used_bytes, 0u);
  level.trim();
  EXPECT_EQ(level.get().usage().used_bytes, 0u);
  EXPECT_EQ(level.allocate(100), first);
  level.deallocate(first, 100);
}

std::vector<mete::leak_report> leaks;

TEST(guarded, leaks_are_reported_when_it_ends) {
  leaks.clear();
  unsigned line = 0;
  {
    guarded<arena> level({.inner = {.name = "level"},
                          .on_leak = [](const mete::leak_report& leak) { leaks.push_back(leak); }});
    line = __LINE__ + 1;
    static_cast<void>(level.allocate(24, 8));
    static_cast<void>(level.try_allocate(48));
    level.deallocate(level.allocate(1), 1);
  }
  ASSERT_EQ(leaks.size(), 2u);
  EXPECT_EQ(leaks[0].size, 24u);
  EXPECT_EQ(leaks[0].alignment, 8u);
  EXPECT_EQ(leaks[0].number, 1u);
  EXPECT_EQ(leaks[0].where.line, line);
  EXPECT_NE(std::string(leaks[0].where.file).find("debug_test.cpp"), std::string::npos);
  EXPECT_EQ(leaks[1].size, 48u);
  EXPECT_EQ(leaks[1].where.line, line + 1);
}

TEST(guarded, leaks_are_printed_where_nobody_asks) {
  testing::internal::CaptureStderr();
  {
    guarded<arena> level({.inner = {.name = "level"}});
    for (int count = 0; count < 25; ++count)
      static_cast<void>(level.allocate(24));
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("mete: level: leak of 0x"), std::string::npos) << text;
  EXPECT_NE(text.find("24 bytes, allocated by "), std::string::npos) << text;
  EXPECT_NE(text.find("mete: level: 5 more leaks"), std::string::npos) << text;
}

TEST(guarded, a_reset_ends_everything_and_leaks_nothing) {
  leaks.clear();
  {
    guarded<arena> level({.on_leak = [](const mete::leak_report& leak) { leaks.push_back(leak); }});
    for (int round = 0; round < 3; ++round) {
      for (int count = 0; count < 1000; ++count)
        ASSERT_NE(level.try_allocate(10), nullptr);
      level.deallocate(level.allocate(10), 10);
      level.reset();
      EXPECT_EQ(level.usage().used_bytes, 0u);
      EXPECT_EQ(level.get().usage().used_bytes, 0u);
    }
  }
  EXPECT_TRUE(leaks.empty());
}

TEST(guarded, new_bytes_are_no_zeros) {
  guarded<arena> level;
  auto* const block = static_cast<unsigned char*>(level.allocate(16));
  EXPECT_EQ(block[0], 0xcd);
  EXPECT_EQ(block[15], 0xcd);
  level.deallocate(block, 16);
}

class guarded_death_test : public testing::Test {
protected:
  guarded<arena> level{{.inner = {.name = "level"}}};
};

TEST_F(guarded_death_test, write_past_the_end) {
  void* const block = level.allocate(24);
  EXPECT_DEATH(
      {
        write_astray(block, 24);
        level.deallocate(block, 24);
      },
      "level: write past the end of 0x.*: block 1, 24 bytes.*allocated.*debug_test.cpp");
  EXPECT_DEATH(
      {
        write_astray(block, 24 + 31);
        level.check_invariants();
      },
      "write past the end");
}

TEST_F(guarded_death_test, write_before_the_begin) {
  void* const block = level.allocate(24, 64);
  EXPECT_DEATH(
      {
        write_astray(block, -1);
        level.deallocate(block, 24, 64);
      },
      "level: write before the begin");
}

TEST_F(guarded_death_test, write_after_the_free) {
  void* const block = level.allocate(24);
  level.deallocate(block, 24);
  EXPECT_DEATH(
      {
        write_astray(block, 5);
        level.trim();
      },
      "level: write after the free of 0x.*freed .* ago by .*debug_test.cpp");
}

TEST_F(guarded_death_test, double_free) {
  void* const block = level.allocate(24);
  level.deallocate(block, 24);
  EXPECT_DEATH(level.deallocate(block, 24), "level: double free of 0x.*: block 1, 24 bytes.*freed");
}

TEST_F(guarded_death_test, double_free_after_the_quarantine) {
  void* const block = level.allocate(24);
  level.deallocate(block, 24);
  level.trim();
  void* const other = level.allocate(1000);
  EXPECT_DEATH(level.deallocate(static_cast<char*>(other) + 2000, 24), "level: foreign free");
  level.deallocate(other, 1000);
}

TEST_F(guarded_death_test, foreign_free) {
  int elsewhere = 0;
  EXPECT_DEATH(level.deallocate(&elsewhere, 4), "level: foreign free .*no block of this allocator");
  EXPECT_DEATH(level.deallocate(nullptr, 4), "level: foreign free");
}

TEST_F(guarded_death_test, free_of_a_part) {
  void* const block = level.allocate(24);
  EXPECT_DEATH(level.deallocate(static_cast<char*>(block) + 8, 16),
               "level: free of a part of 0x.*: it is 8 bytes into block 1");
}

TEST_F(guarded_death_test, mismatches) {
  void* const block = level.allocate(24, 8);
  EXPECT_DEATH(level.deallocate(block, 25, 8), "free with another size .* 25 bytes were given");
  EXPECT_DEATH(level.deallocate(block, 24, 16), "free with another alignment .* 16 as the align");
}

TEST_F(guarded_death_test, stacks_are_printed) {
  void* const block = level.allocate(24);
  level.deallocate(block, 24);
  EXPECT_DEATH(level.deallocate(block, 24), "mete: allocated at\n(.|\n)*mete: freed at\n");
}

// ---- counted ----------------------------------------------------------------------------------

TEST(counted, random_use_agrees_with_the_model) {
  counted<arena> nodes;
  mete::test::exercise(nodes);
  EXPECT_EQ(nodes.counts().live_blocks, 0u);
  EXPECT_EQ(nodes.counts().live_bytes, 0u);
  EXPECT_EQ(nodes.counts().peak_blocks, 400u);
}

TEST(counted, requests) {
  counted<arena> nodes({.inner = {.name = "nodes"}});
  mete::test::expect_alignments(nodes, 24);
  mete::test::expect_impossible_requests_fail(nodes);
  EXPECT_GT(nodes.failures(), 0u);
  mete::test::expect_exhaustion_is_told(nodes, SIZE_MAX / 2);
}

TEST(counted, classes_are_powers_of_two) {
  using nodes = counted<arena>;
  EXPECT_EQ(nodes::class_of(0), 0u);
  EXPECT_EQ(nodes::class_of(1), 0u);
  EXPECT_EQ(nodes::class_of(2), 1u);
  EXPECT_EQ(nodes::class_of(3), 2u);
  EXPECT_EQ(nodes::class_of(4), 2u);
  EXPECT_EQ(nodes::class_of(16), 4u);
  EXPECT_EQ(nodes::class_of(17), 5u);
  EXPECT_EQ(nodes::class_of(SIZE_MAX), 64u);
}

TEST(counted, counts) {
  counted<arena> nodes;
  void* const first = nodes.allocate(20);
  void* const second = nodes.allocate(30);
  void* const third = nodes.allocate(1000);
  nodes.deallocate(first, 20);
  EXPECT_EQ(nodes.counts().allocations, 3u);
  EXPECT_EQ(nodes.counts().bytes, 1050u);
  EXPECT_EQ(nodes.counts().live_bytes, 1030u);
  EXPECT_EQ(nodes.counts().peak_bytes, 1050u);
  EXPECT_EQ(nodes.counts(5).allocations, 2u);
  EXPECT_EQ(nodes.counts(5).live_blocks, 1u);
  EXPECT_EQ(nodes.counts(5).peak_blocks, 2u);
  EXPECT_EQ(nodes.counts(5).peak_bytes, 50u);
  EXPECT_EQ(nodes.counts(10).live_bytes, 1000u);
  EXPECT_EQ(nodes.usage().largest_request_bytes, 1000u);
  EXPECT_EQ(nodes.allocate_latency().calls(), 3u);
  EXPECT_EQ(nodes.deallocate_latency().calls(), 1u);
  EXPECT_GT(nodes.allocate_latency().percentile_ns(0.5), 0u);
  nodes.deallocate(second, 30);
  nodes.deallocate(third, 1000);
  nodes.reset();
  EXPECT_EQ(nodes.counts().live_blocks, 0u);
}

TEST(counted, latency_of_each_n_th_call_or_none) {
  counted<arena> each_tenth({.latency_every = 10});
  counted<arena> none({.latency_every = 0});
  for (int count = 0; count < 100; ++count) {
    static_cast<void>(each_tenth.allocate(10));
    static_cast<void>(none.allocate(10));
  }
  EXPECT_EQ(each_tenth.allocate_latency().calls(), 10u);
  EXPECT_EQ(none.allocate_latency().calls(), 0u);
}

TEST(latency_histogram, percentiles) {
  mete::latency_histogram times;
  EXPECT_EQ(times.percentile_ns(0.5), 0u);
  for (int count = 0; count < 99; ++count)
    times.add(20); // below 32
  times.add(1000);
  times.add(UINT64_MAX);
  EXPECT_EQ(times.percentile_ns(0), 32u);
  EXPECT_EQ(times.percentile_ns(0.5), 32u);
  EXPECT_EQ(times.percentile_ns(0.985), 1024u);
  EXPECT_EQ(times.percentile_ns(1), std::uint64_t{1} << 39);
}

TEST(counted, json) {
  counted<arena> nodes({.inner = {.name = "the \"nodes\"\n"}, .latency_every = 0});
  static_cast<void>(nodes.allocate(20));
  const std::string text = nodes.json();
  EXPECT_EQ(text.find("{\"name\": \"the \\\"nodes\\\"\\u000a\", \"allocations\": 1, \"bytes\": 20, "
                      "\"live_blocks\": 1, \"live_bytes\": 20, \"peak_blocks\": 1, "
                      "\"peak_bytes\": 20, \"failures\": 0, \"largest_request_bytes\": 20"),
            0u)
      << text;
  EXPECT_NE(text.find("\"classes\": [{\"max_bytes\": 32, \"allocations\": 1, \"bytes\": 20, "
                      "\"live_blocks\": 1, \"live_bytes\": 20, \"peak_blocks\": 1, "
                      "\"peak_bytes\": 20}], \"allocate_latency\": [], "
                      "\"deallocate_latency\": []}"),
            std::string::npos)
      << text;
}

// ---- locked -----------------------------------------------------------------------------------

TEST(locked, random_use_agrees_with_the_model) {
  locked<arena> strings;
  mete::test::exercise(strings, {.operations = 5000});
}

TEST(locked, requests) {
  locked<arena> strings({.name = "strings"});
  mete::test::expect_alignments(strings, 24);
  mete::test::expect_impossible_requests_fail(strings);
  mete::test::expect_exhaustion_is_told(strings, SIZE_MAX / 2);
}

TEST(locked, many_threads) {
  locked<counted<guarded<arena>>> shared;
  std::vector<std::thread> threads;
  for (int which = 0; which < 4; ++which)
    threads.emplace_back([&shared, which] {
      std::vector<char*> mine;
      for (std::size_t round = 0; round < 500; ++round) {
        mine.push_back(static_cast<char*>(shared.allocate(8)));
        std::memset(mine.back(), which, 8);
        if (round % 3 == 0) {
          EXPECT_EQ(mine.front()[7], which);
          shared.deallocate(mine.front(), 8);
          mine.erase(mine.begin());
        }
      }
      for (char* const each : mine)
        shared.deallocate(each, 8);
    });
  for (std::thread& each : threads)
    each.join();
  shared.with([](auto& inner) {
    EXPECT_EQ(inner.counts().allocations, 2000u);
    EXPECT_EQ(inner.counts().live_blocks, 0u);
  });
  shared.trim();
}

struct counting_mutex {
  void lock() { ++locked; }
  void unlock() { ++unlocked; }
  inline static int locked = 0;
  inline static int unlocked = 0;
};

TEST(locked, every_call_has_the_lock) {
  locked<arena, counting_mutex> strings;
  void* const block = strings.allocate(8, 1);
  EXPECT_EQ(counting_mutex::locked, 1);
  static_cast<void>(strings.owns(block));
  static_cast<void>(strings.usage());
  strings.deallocate(block, 8, 1);
  strings.trim();
  EXPECT_EQ(strings.with([](arena& inner) { return inner.usage().used_bytes; }), 0u);
  EXPECT_EQ(counting_mutex::locked, 6);
  EXPECT_EQ(counting_mutex::unlocked, 6);
}

TEST(debug, wrappers_pass_the_place_on) {
  leaks.clear();
  unsigned line = 0;
  {
    locked<counted<guarded<arena>>> all(
        {.inner = {.on_leak = [](const mete::leak_report& leak) { leaks.push_back(leak); }}});
    line = __LINE__ + 1;
    static_cast<void>(all.allocate(10));
  }
  ASSERT_EQ(leaks.size(), 1u);
  EXPECT_EQ(leaks[0].where.line, line);
}

TEST(debug, containers_over_all_of_them) {
  mete::resource<locked<counted<guarded<arena>>>> resource;
  mete::test::expect_containers_work(resource);
  EXPECT_EQ(resource.get().usage().used_bytes, 0u);
}

} // namespace
