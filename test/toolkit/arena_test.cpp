// SPDX-License-Identifier: MIT
#include <mete/arena.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::arena>);

struct noisy {
  noisy(std::vector<int>& to, int which) : log(to), number(which) {}
  noisy(const noisy&) = delete;
  noisy& operator=(const noisy&) = delete;
  ~noisy() { log.push_back(number); }
  std::vector<int>& log;
  int number;
};

TEST(arena, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    mete::arena arena({.first_chunk_bytes = 300, .max_chunk_bytes = 20'000});
    mete::test::exercise(arena, {.seed = seed});
  }
}

TEST(arena, scopes_end_what_was_allocated_in_them_and_nothing_else) {
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .first_chunk_bytes = 256, .max_chunk_bytes = 1024});
  mete::test::model blocks(arena);
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(blocks.allocate(40, 8));
    const std::size_t used = arena.usage().used_bytes;
    {
      const auto outer = arena.scope();
      mete::test::model inside(arena);
      for (std::size_t size = 1; size < 400; size += 7)
        ASSERT_TRUE(inside.allocate(size, 16));
      {
        const auto inner = arena.scope();
        ASSERT_NE(arena.try_allocate(5000), nullptr);
      }
      inside.check_all();
    }
    EXPECT_EQ(arena.usage().used_bytes, used);
    blocks.check_all();
  }
  const std::size_t reserved = arena.usage().reserved_bytes;
  const std::size_t acquisitions = source.usage().acquisitions;
  for (int round = 0; round < 100; ++round) {
    const auto scope = arena.scope();
    ASSERT_NE(arena.try_allocate(5000), nullptr);
  }
  EXPECT_EQ(source.usage().acquisitions, acquisitions) << "chunks must be used again";
  EXPECT_EQ(arena.usage().reserved_bytes, reserved);
}

TEST(arena, reset_keeps_as_much_as_it_is_told) {
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .first_chunk_bytes = 1024, .max_chunk_bytes = 1024});
  for (int count = 0; count < 100; ++count)
    ASSERT_NE(arena.try_allocate(500), nullptr);
  const std::size_t full = arena.usage().reserved_bytes;
  EXPECT_GE(full, 50'000u);
  arena.reset();
  EXPECT_EQ(arena.usage().reserved_bytes, full);
  EXPECT_EQ(arena.usage().used_bytes, 0u);
  EXPECT_GE(arena.usage().peak_bytes, 50'000u);
  arena.reset(10'000);
  EXPECT_LE(arena.usage().reserved_bytes, 10'000u);
  EXPECT_GT(arena.usage().reserved_bytes, 8'000u);
  arena.reset(0);
  EXPECT_EQ(arena.usage().reserved_bytes, 0u);
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
  EXPECT_NE(arena.try_allocate(1), nullptr) << "it must be of use afterwards";
}

TEST(arena, trim_gives_back_what_nothing_lives_in) {
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .first_chunk_bytes = 512, .max_chunk_bytes = 512});
  ASSERT_NE(arena.try_allocate(100), nullptr);
  const std::size_t one_chunk = source.usage().acquired_bytes;
  {
    const auto scope = arena.scope();
    for (int count = 0; count < 50; ++count)
      ASSERT_NE(arena.try_allocate(300), nullptr);
  }
  EXPECT_GT(source.usage().acquired_bytes, one_chunk);
  arena.trim();
  EXPECT_EQ(source.usage().acquired_bytes, one_chunk);
}

TEST(arena, nothing_is_acquired_before_the_first_allocation) {
  mete::heap_source source;
  mete::arena arena({.upstream = &source});
  EXPECT_EQ(source.usage().acquisitions, 0u);
  arena.reset();
  arena.trim();
  const auto mark = arena.mark();
  arena.rewind(mark);
  EXPECT_EQ(source.usage().acquisitions, 0u);
  ASSERT_NE(arena.try_allocate(1), nullptr);
  EXPECT_EQ(source.usage().acquisitions, 1u);
}

TEST(arena, the_first_chunk_is_acquired_at_once_if_wanted) {
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .first_chunk_bytes = 4096, .acquire_at_once = true});
  EXPECT_EQ(source.usage().acquired_bytes, 4096u);
  ASSERT_NE(arena.try_allocate(4000), nullptr);
  EXPECT_EQ(source.usage().acquisitions, 1u);
  mete::test::exercise(arena);
}

TEST(arena, what_cannot_be_acquired_at_once_may_be_later) {
  mete::heap_source heap;
  mete::limit_source source(heap, 1000);
  mete::arena arena({.upstream = &source, .acquire_at_once = true});
  EXPECT_EQ(source.usage().failures, 1u);
  EXPECT_NE(arena.try_allocate(100), nullptr) << "less is better than nothing";
}

TEST(arena, with_a_buffer_nothing_is_acquired_at_once) {
  alignas(16) std::array<std::byte, 1024> buffer;
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .buffer = buffer, .acquire_at_once = true});
  EXPECT_TRUE(arena.owns(arena.try_allocate(10)));
  EXPECT_EQ(source.usage().acquisitions, 0u);
}

TEST(arena, chunks_stop_doubling) {
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .first_chunk_bytes = 4096, .max_chunk_bytes = 65536});
  for (int count = 0; count < 40'000; ++count)
    ASSERT_NE(arena.try_allocate(100), nullptr);
  const mete::allocator_usage usage = arena.usage();
  EXPECT_LE(usage.reserved_bytes - usage.used_bytes, 65536u);
  EXPECT_GE(source.usage().acquisitions, usage.reserved_bytes / 65536);
}

TEST(arena, a_buffer_is_used_first) {
  alignas(16) std::array<std::byte, 1024> buffer;
  mete::heap_source source;
  mete::arena arena({.upstream = &source, .buffer = buffer});
  for (std::size_t round = 1; round <= 3; ++round) {
    const auto* const block = static_cast<std::byte*>(arena.try_allocate(500));
    EXPECT_GE(block, buffer.data());
    EXPECT_LT(block, buffer.data() + buffer.size());
    EXPECT_EQ(source.usage().acquired_bytes, 0u);
    ASSERT_NE(arena.try_allocate(600), nullptr);
    EXPECT_EQ(source.usage().acquisitions, round);
    arena.reset(0);
    EXPECT_EQ(source.usage().acquired_bytes, 0u) << "the buffer stays, the rest goes";
  }
}

TEST(arena, the_last_block_grows_and_goes_back) {
  mete::arena arena({.first_chunk_bytes = 4096});
  void* const first = arena.try_allocate(100);
  void* const last = arena.try_allocate(100);
  EXPECT_FALSE(arena.try_expand(first, 100, 200));
  EXPECT_TRUE(arena.try_expand(last, 100, 2000));
  EXPECT_TRUE(arena.try_expand(last, 2000, 50));
  EXPECT_FALSE(arena.try_expand(last, 50, 8000));
  EXPECT_FALSE(arena.try_expand(last, 50, SIZE_MAX));
  arena.deallocate(last, 50);
  EXPECT_EQ(arena.try_allocate(70), last);
  EXPECT_GE(arena.usage().peak_bytes, 2000u);
}

TEST(arena, destructors_run_last_made_first) {
  std::vector<int> log;
  {
    mete::arena arena;
    arena.make<noisy>(log, 1);
    {
      const auto scope = arena.scope();
      arena.make<noisy>(log, 2);
      arena.make<noisy>(log, 3);
    }
    EXPECT_EQ(log, (std::vector<int>{3, 2}));
    arena.make<noisy>(log, 4);
    arena.reset();
    EXPECT_EQ(log, (std::vector<int>{3, 2, 4, 1}));
    auto strings = arena.make_span<std::string>(100);
    for (std::string& each : strings)
      each.assign(100, 'x'); // a leak would be reported
    arena.make<noisy>(log, 5);
  }
  EXPECT_EQ(log.back(), 5);
}

TEST(arena, a_constructor_that_throws_leaves_no_destructor) {
  struct throws {
    throws() { throw std::runtime_error("no"); }
    ~throws() { ADD_FAILURE() << "was never constructed"; }
  };
  mete::arena arena;
  EXPECT_THROW(arena.make<throws>(), std::runtime_error);
  EXPECT_THROW(static_cast<void>(arena.make_span<throws>(3)), std::runtime_error);
}

TEST(arena, aggregates_are_made_too) {
  struct point {
    int x, y;
  };
  mete::arena arena;
  EXPECT_EQ(arena.make<point>(3, 4)->y, 4);
  EXPECT_EQ(arena.make<point>()->x, 0);
}

TEST(arena, alignments) {
  mete::arena arena({.first_chunk_bytes = 256});
  mete::test::expect_alignments(arena, 24);
  mete::test::expect_alignments(arena, 5000, std::size_t{1} << 20);
}

TEST(arena, sizes_with_which_the_cursor_would_wrap_around) {
  mete::arena arena;
  ASSERT_NE(arena.try_allocate(100), nullptr);
  const std::size_t used = arena.usage().used_bytes;
  for (std::size_t below = 0; below < 200; ++below)
    ASSERT_EQ(arena.try_allocate(SIZE_MAX - below, 1), nullptr);
  ASSERT_EQ(arena.try_allocate(1, ~(SIZE_MAX / 2)), nullptr);
  EXPECT_EQ(arena.usage().used_bytes, used);
}

TEST(arena, impossible_requests) {
  mete::arena arena({.name = "level"});
  mete::test::expect_impossible_requests_fail(arena);
  mete::test::expect_exhaustion_is_told(arena, SIZE_MAX / 2);
  EXPECT_THROW(static_cast<void>(arena.make_span<double>(SIZE_MAX / 4)), mete::out_of_memory);
}

TEST(arena, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::arena arena({.upstream = &source, .first_chunk_bytes = 256, .max_chunk_bytes = 512});
    mete::test::model blocks(arena);
    for (std::size_t size = 1; size < 900; size += 50)
      static_cast<void>(blocks.allocate(size, 8));
    blocks.check_all();
    blocks.forget_all();
    arena.reset(600);
    for (std::size_t size = 900; size > 50; size -= 50)
      static_cast<void>(blocks.allocate(size, 8));
    blocks.check_all();
  });
}

TEST(arena, owns_its_chunks_only) {
  mete::arena arena({.first_chunk_bytes = 256, .max_chunk_bytes = 256});
  int elsewhere = 0;
  EXPECT_FALSE(arena.owns(&elsewhere));
  EXPECT_FALSE(arena.owns(nullptr));
  std::vector<void*> blocks;
  for (int count = 0; count < 20; ++count)
    blocks.push_back(arena.try_allocate(100));
  for (void* const block : blocks)
    EXPECT_TRUE(arena.owns(block));
  EXPECT_FALSE(arena.owns(&elsewhere));
}

TEST(arena_death_test, a_mark_of_what_has_ended) {
  mete::arena arena({.name = "frames", .first_chunk_bytes = 256, .max_chunk_bytes = 256});
  for (int count = 0; count < 10; ++count)
    ASSERT_NE(arena.try_allocate(100), nullptr);
  const auto late = arena.mark();
  arena.reset();
  EXPECT_DEATH(arena.rewind(late), "frames: rewind .* the mark was taken");
}

} // namespace
