// SPDX-License-Identifier: MIT
#include <mete/frame.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::frame_arena<1>>);
static_assert(mete::allocator<mete::frame_arena<3>>);

template <std::size_t N>
void expect_blocks_live_for_n_frames() {
  mete::frame_arena<N> frames({.first_chunk_bytes = 512, .max_chunk_bytes = 2048});
  std::vector<mete::test::model<mete::frame_arena<N>>> in_flight(N, mete::test::model(frames));
  for (std::size_t frame = 0; frame < 50; ++frame) {
    auto& blocks = in_flight[frame % N];
    blocks.forget_all(); // their frame has ended
    for (std::size_t size = 0; size < 300; size += 1 + frame % 13)
      ASSERT_TRUE(blocks.allocate(size, std::size_t{1} << (size % 7)));
    for (const auto& each : in_flight)
      each.check_all();
    frames.next_frame();
  }
}

TEST(frame_arena, blocks_live_for_n_frames) {
  expect_blocks_live_for_n_frames<1>();
  expect_blocks_live_for_n_frames<2>();
  expect_blocks_live_for_n_frames<3>();
}

TEST(frame_arena, random_use_agrees_with_the_model) {
  mete::frame_arena<2> frames({.first_chunk_bytes = 300, .max_chunk_bytes = 20'000});
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    mete::test::exercise(frames, {.seed = seed, .operations = 5000});
    frames.next_frame();
  }
}

TEST(frame_arena, a_buffer_is_divided_among_the_frames) {
  alignas(16) std::array<std::byte, 3000> buffer;
  mete::heap_source source;
  mete::frame_arena<3> frames({.upstream = &source, .buffer = buffer});
  for (int frame = 0; frame < 10; ++frame) {
    auto* const block = static_cast<std::byte*>(frames.try_allocate(900));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ((block - buffer.data()) / 1000, frame % 3);
    frames.next_frame();
  }
  EXPECT_EQ(source.usage().acquisitions, 0u);
  EXPECT_NE(frames.try_allocate(2000), nullptr) << "then the source is asked";
  EXPECT_EQ(source.usage().acquisitions, 1u);
}

TEST(frame_arena, a_steady_loop_acquires_nothing) {
  mete::heap_source source;
  mete::frame_arena<2> frames({.upstream = &source, .first_chunk_bytes = 1024});
  const auto frame = [&] {
    for (int count = 0; count < 100; ++count)
      ASSERT_NE(frames.try_allocate(200), nullptr);
    frames.next_frame();
  };
  frame();
  frame();
  const std::size_t acquisitions = source.usage().acquisitions;
  for (int count = 0; count < 100; ++count)
    frame();
  EXPECT_EQ(source.usage().acquisitions, acquisitions);
  frames.next_frame();
  frames.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(frame_arena, with_chunks_acquired_at_once_not_even_the_first_frames_acquire) {
  mete::heap_source source;
  mete::frame_arena<3> frames(
      {.upstream = &source, .first_chunk_bytes = 4096, .acquire_at_once = true});
  EXPECT_EQ(source.usage().acquisitions, 3u);
  for (int frame = 0; frame < 6; ++frame) {
    ASSERT_NE(frames.try_allocate(4000), nullptr);
    frames.next_frame();
  }
  EXPECT_EQ(source.usage().acquisitions, 3u);
  EXPECT_EQ(frames.peak_frame().bytes, 4000u);
}

TEST(frame_arena, counts_each_frame) {
  mete::frame_arena<2> frames;
  EXPECT_EQ(frames.allocations_this_frame(), 0u);
  static_cast<void>(frames.allocate(100));
  frames.deallocate(frames.allocate(50), 50);
  frames.make<int>(7);
  frames.make_span<int>(10);
  EXPECT_TRUE(frames.make_span<int>(0).empty());
  EXPECT_EQ(frames.try_allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(frames.allocations_this_frame(), 4u);
  EXPECT_EQ(frames.bytes_this_frame(), 100u + 50 + 4 + 40);
  EXPECT_EQ(frames.peak_frame().frame, 0u);
  frames.next_frame();
  EXPECT_EQ(frames.allocations_this_frame(), 0u) << "this loop allocates nothing";
  EXPECT_EQ(frames.this_frame().frame, 1u);
  EXPECT_EQ(frames.last_frame().allocations, 4u);
  EXPECT_EQ(frames.last_frame().bytes, 194u);
  static_cast<void>(frames.allocate(500));
  EXPECT_EQ(frames.peak_frame().frame, 1u) << "the one that runs counts";
  frames.next_frame();
  frames.next_frame();
  EXPECT_EQ(frames.peak_frame().frame, 1u);
  EXPECT_EQ(frames.peak_frame().bytes, 500u);
  EXPECT_EQ(frames.last_frame().frame, 2u);
}

TEST(frame_arena, the_budget_is_told_of_once_a_frame) {
  std::vector<mete::frame_statistics> told;
  mete::frame_arena<2> frames(
      {.budget_bytes = 1000,
       .over_budget =
           [](void* to, const mete::frame_statistics& so_far) {
             static_cast<std::vector<mete::frame_statistics>*>(to)->push_back(so_far);
           },
       .context = &told});
  for (int frame = 0; frame < 3; ++frame) {
    EXPECT_NE(frames.try_allocate(1000), nullptr);
    EXPECT_EQ(told.size(), static_cast<std::size_t>(frame));
    EXPECT_NE(frames.try_allocate(1), nullptr) << "it is served nevertheless";
    EXPECT_EQ(told.size(), static_cast<std::size_t>(frame + 1));
    EXPECT_EQ(told.back().bytes, 1001u);
    EXPECT_EQ(told.back().frame, static_cast<std::uint64_t>(frame));
    EXPECT_NE(frames.try_allocate(5000), nullptr);
    EXPECT_EQ(told.size(), static_cast<std::size_t>(frame + 1));
    frames.next_frame();
  }
}

TEST(frame_arena, a_budget_without_a_callback_is_only_a_number) {
  mete::frame_arena<1> frames({.budget_bytes = 10});
  EXPECT_NE(frames.try_allocate(100), nullptr);
}

TEST(frame_arena, destructors_run_when_the_frame_ends) {
  struct noisy {
    noisy(std::vector<int>& to, int which) : log(to), number(which) {}
    noisy(const noisy&) = delete;
    noisy& operator=(const noisy&) = delete;
    ~noisy() { log.push_back(number); }
    std::vector<int>& log;
    int number;
  };
  std::vector<int> log;
  {
    mete::frame_arena<2> frames;
    frames.make<noisy>(log, 1);
    frames.next_frame();
    frames.make<noisy>(log, 2);
    EXPECT_TRUE(log.empty());
    frames.next_frame();
    EXPECT_EQ(log, (std::vector<int>{1}));
    frames.make<noisy>(log, 3);
    frames.next_frame();
    EXPECT_EQ(log, (std::vector<int>{1, 2}));
  }
  EXPECT_EQ(log, (std::vector<int>{1, 2, 3}));
}

TEST(frame_arena, what_a_constructor_throws_is_not_counted) {
  struct throws {
    throws() { throw std::runtime_error("no"); }
  };
  mete::frame_arena<2> frames;
  EXPECT_THROW(frames.make<throws>(), std::runtime_error);
  EXPECT_EQ(frames.allocations_this_frame(), 0u);
}

TEST(frame_arena, requests) {
  mete::frame_arena<2> frames({.name = "render", .first_chunk_bytes = 256});
  mete::test::expect_alignments(frames, 24);
  mete::test::expect_impossible_requests_fail(frames);
  mete::test::expect_exhaustion_is_told(frames, SIZE_MAX / 2);
}

TEST(frame_arena, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::frame_arena<2> frames(
        {.upstream = &source, .first_chunk_bytes = 256, .max_chunk_bytes = 512});
    for (int frame = 0; frame < 5; ++frame) {
      mete::test::model blocks(frames);
      for (std::size_t size = 1; size < 900; size += 100)
        static_cast<void>(blocks.allocate(size, 8));
      blocks.check_all();
      EXPECT_EQ(frames.allocations_this_frame(), blocks.live());
      frames.next_frame();
    }
  });
}

TEST(frame_arena, owns_what_is_in_flight) {
  mete::frame_arena<2> frames;
  int elsewhere = 0;
  void* const first = frames.allocate(10);
  frames.next_frame();
  void* const second = frames.allocate(10);
  EXPECT_TRUE(frames.owns(first));
  EXPECT_TRUE(frames.owns(second));
  EXPECT_FALSE(frames.owns(&elsewhere));
  const mete::allocator_usage usage = frames.usage();
  EXPECT_GE(usage.used_bytes, 20u);
  EXPECT_GE(usage.reserved_bytes, usage.used_bytes);
}

} // namespace
