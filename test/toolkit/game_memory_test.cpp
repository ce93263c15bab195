// SPDX-License-Identifier: MIT
#include <mete/game_memory.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <utility>
#include <vector>

#include "support/failing_source.hpp"

namespace {

struct mesh {
  explicit mesh(int& counter) : alive(&counter) { ++counter; }
  mesh(const mesh&) = delete;
  mesh& operator=(const mesh&) = delete;
  ~mesh() { --*alive; }
  int* alive;
};
struct enemy {
  explicit enemy(mete::box<mesh> with) : looks(std::move(with)) {}
  mete::box<mesh> looks;
};
struct bullet {
  float position[3];
  float speed[3];
};

using game = mete::game_memory<mesh, enemy, bullet>;

TEST(game_memory, objects_live_until_their_boxes_end) {
  game memory({.name = "level"});
  auto one = memory.create<bullet>();
  auto two = memory.try_create<bullet>();
  EXPECT_EQ(memory.size(), 2u);
  const auto handle = memory.pool<bullet>().handle_of(*one);
  one.reset();
  EXPECT_EQ(memory.pool<bullet>().get(handle), nullptr);
  memory.next_frame();
  EXPECT_EQ(memory.last_frame().objects, 1u);
  EXPECT_STREQ(memory.name(), "level");
}

TEST(game_memory, a_frame_lives_until_the_second_next) {
  int alive = 0;
  game memory;
  memory.make<mesh>(alive);
  memory.next_frame();
  EXPECT_EQ(alive, 1);
  memory.next_frame();
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(memory.make_span<int>(100).size(), 100u);
}

TEST(game_memory, frames_report_what_they_allocate) {
  game memory;
  memory.make<bullet>();
  static_cast<void>(memory.make_span<int>(10));
  memory.next_frame();
  const mete::game_frame last = memory.last_frame();
  EXPECT_EQ(last.arena.frame, 0u);
  EXPECT_EQ(last.arena.allocations, 2u);
  EXPECT_EQ(last.arena.bytes, sizeof(bullet) + 10 * sizeof(int));
  EXPECT_EQ(last.acquisitions, 1u);
  EXPECT_GT(last.acquired_bytes, 0u);
  EXPECT_EQ(memory.this_frame().arena.frame, 1u);
  EXPECT_EQ(memory.this_frame().arena.allocations, 0u);
}

TEST(game_memory, a_game_that_has_warmed_up_acquires_nothing) {
  game memory;
  std::vector<mete::box<bullet>> bullets;
  bullets.reserve(1000);
  for (int frame = 0; frame < 100; ++frame) {
    while (bullets.size() < 1000)
      bullets.push_back(memory.create<bullet>());
    static_cast<void>(memory.make_span<std::byte>(20'000));
    bullets.resize(200);
    memory.next_frame();
  }
  EXPECT_GE(memory.steady_frames(), 95u);
  EXPECT_EQ(memory.last_frame().acquisitions, 0u);
  static_cast<void>(memory.make_span<std::byte>(10'000'000));
  EXPECT_EQ(memory.this_frame().acquisitions, 1u);
  memory.next_frame();
  EXPECT_EQ(memory.steady_frames(), 0u);
  memory.next_frame();
  EXPECT_EQ(memory.steady_frames(), 1u);
}

TEST(game_memory, the_budget_of_a_frame_is_told_of) {
  int told = 0;
  game memory({.frame_budget_bytes = 100,
               .over_budget = [](void* context,
                                 const mete::frame_statistics&) { ++*static_cast<int*>(context); },
               .context = &told});
  static_cast<void>(memory.make_span<std::byte>(100));
  EXPECT_EQ(told, 0);
  static_cast<void>(memory.make_span<std::byte>(1));
  EXPECT_EQ(told, 1);
}

TEST(game_memory, the_limit_holds) {
  game memory({.limit_bytes = 200'000});
  std::vector<mete::box<bullet>> bullets;
  for (;;) {
    auto one = memory.try_create<bullet>();
    if (!one)
      break;
    bullets.push_back(std::move(one));
  }
  EXPECT_GT(bullets.size(), 1000u);
  EXPECT_LE(memory.usage().reserved_bytes, 200'000u);
  EXPECT_EQ(memory.usage().used_bytes / bullets.size(), sizeof(bullet));
  EXPECT_THROW(static_cast<void>(memory.create<bullet>()), mete::out_of_memory);
}

TEST(game_memory, trim_gives_back_what_nothing_lives_in) {
  mete::heap_source source;
  game memory({.upstream = &source});
  for (int count = 0; count < 10; ++count)
    static_cast<void>(memory.create<bullet>());
  static_cast<void>(memory.make_span<std::byte>(1000));
  memory.next_frame();
  memory.next_frame();
  EXPECT_GT(source.usage().acquired_bytes, 0u);
  memory.trim();
  EXPECT_LT(source.usage().acquired_bytes, 1000u) << "what knows stale handles stays";
  EXPECT_EQ(memory.usage().reserved_bytes, source.usage().acquired_bytes);
}

TEST(game_memory, an_object_may_own_boxes_of_types_named_before) {
  int alive = 0;
  {
    game memory;
    for (int count = 0; count < 1000; ++count)
      static_cast<void>(memory.create<enemy>(memory.create<mesh>(alive)).release());
    memory.make<enemy>(memory.create<mesh>(alive));
    EXPECT_EQ(alive, 1001);
  }
  EXPECT_EQ(alive, 0);
}

TEST(game_memory, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    game memory({.upstream = &source, .first_frame_bytes = 1000});
    std::vector<mete::box<bullet>> bullets;
    for (int frame = 0; frame < 3; ++frame) {
      for (int count = 0; count < 2000; ++count)
        if (auto one = memory.try_create<bullet>())
          bullets.push_back(std::move(one));
      for (int count = 0; count < 20; ++count)
        static_cast<void>(memory.frames().try_allocate(500));
      memory.next_frame();
    }
  });
}

} // namespace
