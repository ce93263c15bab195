// SPDX-License-Identifier: MIT
#include <mete/compose.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>

#include <mete/adapt.hpp>
#include <mete/arena.hpp>
#include <mete/frame.hpp>
#include <mete/stack.hpp>

#include "support/containers.hpp"
#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

using mete::arena;
using mete::bucket;
using mete::shared_stack;

using stack_then_arena = mete::fallback<shared_stack, arena>;
using by_size = mete::split_at<64, arena, stack_then_arena>;
using by_range = mete::bucketize<bucket<16, arena>, bucket<256, mete::ref<arena>>,
                                 bucket<100'000, mete::frame_arena<1>>>;
static_assert(mete::allocator<stack_then_arena>);
static_assert(mete::allocator<by_size>);
static_assert(mete::allocator<by_range>);
static_assert(mete::allocator<mete::ref<by_range>>);

TEST(fallback, random_use_agrees_with_the_model) {
  stack_then_arena both({.first = {.bytes = 10'000}});
  mete::test::exercise(both, {.operations = 5000});
  EXPECT_GT(both.first().usage().peak_bytes, 9'000u);
  EXPECT_GT(both.second().usage().peak_bytes, 9'000u);
}

TEST(fallback, the_second_serves_what_the_first_refuses) {
  stack_then_arena both({.first = {.bytes = 128}});
  void* const first = both.allocate(100, 1);
  void* const second = both.allocate(100, 1);
  EXPECT_TRUE(both.first().owns(first));
  EXPECT_TRUE(both.second().owns(second));
  EXPECT_TRUE(both.owns(first));
  EXPECT_TRUE(both.owns(second));
  EXPECT_FALSE(both.owns(&both));
  both.deallocate(first, 100, 1);
  both.deallocate(second, 100, 1);
  EXPECT_EQ(both.first().usage().used_bytes, 0u) << "it went back to where it came from";
  EXPECT_EQ(both.second().usage().used_bytes, 0u);
  EXPECT_EQ(both.allocate(100, 1), first);
}

TEST(split_at, sizes_go_where_they_belong) {
  by_size parts({.large = {.first = {.bytes = 1000}}});
  const auto is_small = [&](std::size_t size) {
    void* const block = parts.allocate(size, 1);
    const bool small = parts.small().owns(block);
    EXPECT_NE(small, parts.large().owns(block));
    parts.deallocate(block, size, 1);
    return small;
  };
  for (const std::size_t size : {0u, 1u, 64u})
    EXPECT_TRUE(is_small(size)) << size;
  for (const std::size_t size : {65u, 1000u, 5000u})
    EXPECT_FALSE(is_small(size)) << size;
  EXPECT_EQ(parts.usage().used_bytes, 0u) << "all went back where they came from";
  mete::test::exercise(parts, {.operations = 5000});
}

TEST(bucketize, each_range_has_its_allocator) {
  arena shared({.name = "shared"});
  by_range ranges({.name = "ranges", .parts = {{.name = "tiny"}, {shared}, {.name = "long"}}});
  const auto lies_in = [&](std::size_t size) {
    void* const block = ranges.allocate(size, 1);
    const int which = ranges.part<0>().owns(block)   ? 0
                      : shared.owns(block)           ? 1
                      : ranges.part<2>().owns(block) ? 2
                                                     : -1;
    EXPECT_TRUE(ranges.owns(block));
    ranges.deallocate(block, size, 1);
    return which;
  };
  EXPECT_EQ(lies_in(0), 0);
  EXPECT_EQ(lies_in(16), 0);
  EXPECT_EQ(lies_in(17), 1);
  EXPECT_EQ(lies_in(256), 1);
  EXPECT_EQ(lies_in(257), 2);
  EXPECT_EQ(lies_in(100'000), 2);
  EXPECT_EQ(ranges.try_allocate(100'001, 1), nullptr);
  EXPECT_LT(ranges.usage().used_bytes, 70'000u) << "no more than the ends of arenas' chunks";
  EXPECT_STREQ(ranges.name(), "ranges");
  EXPECT_STREQ(ranges.part<0>().name(), "tiny");
  EXPECT_STREQ(ranges.part<1>().name(), "shared");
  mete::test::exercise(ranges, {.operations = 5000});
}

TEST(bucketize_death_test, a_size_that_no_bucket_has) {
  mete::bucketize<bucket<16, arena>> one({.name = "one"});
  int elsewhere = 0;
  EXPECT_DEATH(one.deallocate(&elsewhere, 17, 1), "one: deallocate .* no bucket");
}

TEST(ref, is_the_allocator_that_lives_elsewhere) {
  arena shared({.name = "shared"});
  mete::ref<arena> reference({shared});
  EXPECT_EQ(&reference.get(), &shared);
  EXPECT_STREQ(reference.name(), "shared");
  void* const block = reference.allocate(100, 1);
  EXPECT_TRUE(shared.owns(block));
  EXPECT_EQ(reference.usage().used_bytes, 100u);
  reference.deallocate(block, 100, 1);
  EXPECT_EQ(shared.usage().used_bytes, 0u);
  reference.trim();
  EXPECT_EQ(shared.usage().reserved_bytes, 0u);
  mete::test::exercise(reference, {.operations = 2000});
}

TEST(compose, impossible_requests) {
  arena shared;
  stack_then_arena both({.name = "both"});
  by_size parts({.name = "parts"});
  by_range ranges({.name = "ranges", .parts = {{}, {shared}, {}}});
  mete::test::expect_impossible_requests_fail(both);
  mete::test::expect_impossible_requests_fail(parts);
  mete::test::expect_impossible_requests_fail(ranges);
  mete::test::expect_exhaustion_is_told(both, SIZE_MAX / 2);
  mete::test::expect_exhaustion_is_told(parts, SIZE_MAX / 2);
  mete::test::expect_exhaustion_is_told(ranges, 100'001);
  mete::test::expect_alignments(both, 24);
  mete::test::expect_alignments(parts, 24);
  mete::test::expect_alignments(ranges, 24);
}

TEST(compose, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    by_size parts({.small = {.upstream = &source, .first_chunk_bytes = 256},
                   .large = {.first = {.upstream = &source, .bytes = 500},
                             .second = {.upstream = &source, .first_chunk_bytes = 256}}});
    mete::test::model blocks(parts);
    for (std::size_t size = 1; size < 900; size += 50)
      static_cast<void>(blocks.allocate(size, 8));
    blocks.check_all();
    blocks.deallocate_all();
    parts.trim();
  });
}

TEST(compose, usage_is_the_sum_and_trim_reaches_all_parts) {
  mete::heap_source source;
  mete::split_at<64, arena, arena> parts(
      {.small = {.upstream = &source}, .large = {.upstream = &source}});
  void* const small = parts.allocate(10, 1);
  void* const large = parts.allocate(100, 1);
  EXPECT_EQ(parts.usage().used_bytes,
            parts.small().usage().used_bytes + parts.large().usage().used_bytes);
  parts.deallocate(small, 10, 1);
  parts.deallocate(large, 100, 1);
  parts.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(compose, containers) {
  mete::resource<by_size> resource;
  mete::test::expect_containers_work(resource);
}

} // namespace
