// SPDX-License-Identifier: MIT
#include <mete/adapt.hpp>
#include <mete/compose.hpp>
#include <mete/locked.hpp>
#include <mete/router.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/containers.hpp"
#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

using mete::lifetime;
using mete::route;

static_assert(mete::allocator<mete::router>);
static_assert(mete::allocator<mete::hinted>);

constexpr std::array all_lifetimes{lifetime::scratch, lifetime::frame,     lifetime::task,
                                   lifetime::object,  lifetime::permanent, lifetime::log};
constexpr std::array all_routes{route::medium, route::small,     route::scratch, route::frame,
                                route::task,   route::permanent, route::log,     route::large};

// Small enough to fall over now and then.
mete::router_options small_parts(mete::source* upstream = nullptr) {
  return {.name = "level",
          .upstream = upstream,
          .scratch_bytes = 20'000,
          .frame_bytes = 30'000,
          .task_bytes = 20'000,
          .permanent_bytes = 20'000,
          .log_bytes = 16'384,
          .small_bytes = 300'000,
          .medium_bytes = 200'000,
          .max_medium_bytes = 20'000};
}
// Only what is said.
mete::router_options no_parts(mete::source* upstream = nullptr) {
  return {.name = "level",
          .upstream = upstream,
          .scratch_bytes = 0,
          .frame_bytes = 0,
          .task_bytes = 0,
          .permanent_bytes = 0,
          .log_bytes = 0,
          .small_bytes = 0,
          .medium_bytes = 0};
}

std::size_t fall_overs(const mete::router& of) {
  std::size_t sum = 0;
  for (const route each : all_routes)
    sum += of.usage(each).fall_overs;
  return sum;
}

TEST(divided_range, each_address_has_its_part) {
  constexpr std::size_t page = 4096;
  for (const std::size_t scale : {std::size_t{1}, page, 100 * page}) {
    const std::array<std::size_t, 4> bytes{3 * scale, 0, 1000 * scale + 1, scale};
    const mete::detail::divided_range<4> range(mete::default_source(), bytes, 1 << 16);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(range.part(0).data()) % (1 << 16), 0u);
    for (std::size_t part = 0; part < bytes.size(); ++part) {
      const auto its = range.part(part);
      ASSERT_EQ(its.size(), bytes[part]);
      for (std::size_t at = 0; at < its.size(); at += std::max<std::size_t>(1, scale / 3))
        ASSERT_EQ(range.find(its.data() + at), part);
      if (!its.empty()) {
        ASSERT_EQ(range.find(&its.back()), part);
      }
    }
    EXPECT_EQ(range.find(range.part(0).data() - 1), range.none);
    EXPECT_EQ(range.find(range.part(0).data() + range.reserved_bytes()), range.none);
    EXPECT_EQ(range.find(nullptr), range.none);
    EXPECT_EQ(range.find(&page), range.none);
  }
}

TEST(router, each_hint_has_its_part) {
  mete::router memory;
  const auto expect_one = [&](lifetime hint, std::size_t size, route where) {
    const mete::route_usage before = memory.usage(where);
    void* const block = memory.allocate(size, 16, hint);
    const mete::route_usage after = memory.usage(where);
    EXPECT_EQ(after.allocations, before.allocations + 1);
    EXPECT_EQ(after.bytes, before.bytes + size);
    EXPECT_GE(after.memory.used_bytes, before.memory.used_bytes + size);
    EXPECT_TRUE(memory.owns(block));
  };
  expect_one(lifetime::scratch, 100, route::scratch);
  expect_one(lifetime::frame, 100, route::frame);
  expect_one(lifetime::task, 100, route::task);
  expect_one(lifetime::permanent, 100, route::permanent);
  expect_one(lifetime::log, 100, route::log);
  expect_one(lifetime::object, 100, route::small);
  expect_one(lifetime::object, 4096, route::small);
  expect_one(lifetime::object, 4097, route::medium);
  expect_one(lifetime::object, 1 << 20, route::medium);
  expect_one(lifetime::object, (1 << 20) + 1, route::large);
  EXPECT_EQ(fall_overs(memory), 0u);
  EXPECT_TRUE(memory.scratch().owns(memory.allocate(1, 1, lifetime::scratch)));
  EXPECT_TRUE(memory.frames().owns(memory.allocate(1, 1, lifetime::frame)));
  EXPECT_TRUE(memory.task().owns(memory.allocate(1, 1, lifetime::task)));
  EXPECT_TRUE(memory.permanent().owns(memory.allocate(1, 1, lifetime::permanent)));
}

// All hints at random, with everything that ends several blocks at once.
TEST(router, random_use_agrees_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    mete::heap_source source;
    {
      mete::router memory(small_parts(&source));
      std::mt19937_64 random(seed);
      const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
      mete::test::model objects(memory); // and logs, which are freed one by one too
      mete::test::model even_frame(memory);
      mete::test::model odd_frame(memory);
      const auto this_frame = [&]() -> auto& {
        return memory.frames().this_frame().frame % 2 == 0 ? even_frame : odd_frame;
      };
      mete::test::model task(memory);
      mete::test::model permanent(memory);
      const auto add = [&](mete::test::model<mete::router>& to, lifetime hint) {
        const std::size_t size = below(below(below(100) == 0 ? 40'000 : 1500) + 1);
        const std::size_t alignment = std::size_t{1} << below(below(4) == 0 ? 13 : 5);
        void* const block = memory.try_allocate(size, alignment, hint);
        ASSERT_NE(block, nullptr);
        to.add(block, size, alignment);
      };
      for (int step = 0; step < 15'000 && !HasFailure(); ++step) {
        switch (below(12)) {
        case 0:
          add(this_frame(), lifetime::frame);
          break;
        case 1:
          add(task, lifetime::task);
          break;
        case 2:
          if (below(30) == 0)
            add(permanent, lifetime::permanent);
          break;
        case 3:
        case 4:
          add(objects, lifetime::log);
          break;
        case 5:
        case 6:
          add(objects, lifetime::object);
          break;
        case 7: {
          const auto scope = memory.scratch_scope();
          mete::test::model scratch(memory);
          for (std::size_t count = below(60); count != 0; --count)
            add(scratch, lifetime::scratch);
          {
            const auto inner = memory.scratch_scope();
            mete::test::model more(memory);
            for (std::size_t count = below(20); count != 0; --count)
              add(more, lifetime::scratch);
            more.check_all();
          }
          scratch.check_all();
          if (below(2) == 0)
            scratch.deallocate_all();
          break;
        }
        case 8:
          if (below(20) == 0) {
            even_frame.check_all();
            odd_frame.check_all();
            memory.next_frame();
            this_frame().forget_all();
          }
          break;
        case 9:
          if (below(100) == 0) {
            task.check_all();
            memory.reset_task();
            task.forget_all();
          } else if (task.live() != 0) {
            task.deallocate(below(task.live()));
          }
          break;
        default:
          if (objects.live() > (step / 3000 % 2 == 0 ? 300u : 20u))
            objects.deallocate(below(objects.live()));
        }
        if (step % 500 == 0) {
          ASSERT_EQ(memory.check_invariants(), nullptr);
          objects.check_all();
          permanent.check_all();
        }
        if (step % 5000 == 0)
          memory.trim();
      }
      EXPECT_GT(fall_overs(memory), 0u);
      objects.check_all();
      objects.deallocate_all();
      EXPECT_EQ(memory.usage(route::log).memory.used_bytes, 0u);
      EXPECT_EQ(memory.usage(route::small).memory.used_bytes, 0u);
      EXPECT_EQ(memory.usage(route::medium).memory.used_bytes, 0u);
      EXPECT_EQ(memory.check_invariants(), nullptr);
    }
    EXPECT_EQ(source.usage().acquired_bytes, 0u);
  }
}

TEST(router, each_hint_alone_agrees_with_the_model) {
  for (const lifetime hint : all_lifetimes) {
    mete::router memory(small_parts());
    mete::hinted part({.to = memory, .as = hint});
    mete::test::exercise(part, {.seed = 11, .operations = 6000, .max_size = 9000});
    EXPECT_EQ(memory.check_invariants(), nullptr);
    EXPECT_EQ(memory.usage(route::large).memory.used_bytes, 0u) << "fallen over, and freed";
  }
}

TEST(router, without_parts_everything_is_large) {
  mete::heap_source source;
  mete::router memory(no_parts(&source));
  EXPECT_EQ(source.usage().acquisitions, 0u);
  for (const lifetime hint : all_lifetimes) {
    mete::hinted part({.to = memory, .as = hint});
    mete::test::exercise(part, {.operations = 1000});
  }
  for (const route each : all_routes) {
    EXPECT_EQ(memory.usage(each).allocations != 0, each == route::large);
  }
  memory.trim();
  EXPECT_EQ(source.usage().acquired_bytes, 0u);
}

TEST(router, scratch_ends_with_its_scope) {
  mete::router memory(small_parts());
  for (int round = 0; round < 100; ++round) {
    const auto scope = memory.scratch_scope();
    for (int count = 0; count < 30; ++count) { // 30,000 of 20,000 bytes: some fall over
      ASSERT_NE(memory.try_allocate(1000, 16, lifetime::scratch), nullptr);
    }
    EXPECT_GT(memory.usage(route::large).memory.used_bytes, 9000u);
  }
  EXPECT_EQ(memory.usage(route::scratch).memory.used_bytes, 0u);
  EXPECT_EQ(memory.usage(route::large).memory.used_bytes, 0u);
}

TEST(router, inner_scopes_end_only_their_own) {
  mete::router memory(no_parts());
  const auto outer = memory.scratch_scope();
  void* const kept = memory.allocate(100, 16, lifetime::scratch);
  {
    auto inner = memory.scratch_scope();
    const auto moved = std::move(inner);
    void* const gone = memory.allocate(100, 16, lifetime::scratch);
    memory.deallocate(gone, 100, 16); // the newest: the scope must not remember it
    static_cast<void>(memory.allocate(100, 16, lifetime::scratch));
  }
  EXPECT_TRUE(memory.owns(kept));
  EXPECT_EQ(memory.usage(route::large).memory.used_bytes, 100u);
}

TEST(router, a_frame_lives_until_the_second_next) {
  for (const bool with_parts : {false, true}) {
    mete::router memory(with_parts ? small_parts() : no_parts());
    const route where = with_parts ? route::frame : route::large;
    static_cast<void>(memory.allocate(5000, 16, lifetime::frame));
    memory.next_frame();
    static_cast<void>(memory.allocate(500, 16, lifetime::frame));
    EXPECT_GE(memory.usage(where).memory.used_bytes, 5500u);
    memory.next_frame();
    EXPECT_GE(memory.usage(where).memory.used_bytes, 500u);
    EXPECT_LT(memory.usage(where).memory.used_bytes, 1000u);
    memory.next_frame();
    EXPECT_EQ(memory.usage(where).memory.used_bytes, 0u);
  }
}

TEST(router, both_frames_have_the_same_room) {
  mete::router memory({.frame_bytes = 100'000});
  for (int frame = 0; frame < 10; ++frame) {
    static_cast<void>(memory.allocate(frame % 2 == 0 ? 49'000 : 40'000, 16, lifetime::frame));
    memory.next_frame();
  }
  EXPECT_EQ(memory.usage(route::frame).fall_overs, 0u);
}

TEST(router, a_task_ends_by_its_reset) {
  for (const bool with_parts : {false, true}) {
    mete::router memory(with_parts ? small_parts() : no_parts());
    for (int count = 0; count < 100; ++count)
      ASSERT_NE(memory.try_allocate(1000, 16, lifetime::task), nullptr);
    void* const other = memory.allocate(1000);
    memory.reset_task();
    EXPECT_EQ(memory.usage(route::task).memory.used_bytes, 0u);
    EXPECT_EQ(memory.usage(route::large).memory.used_bytes, with_parts ? 0u : 1000u);
    memory.deallocate(other, 1000);
  }
}

TEST(router, log_records_come_back_in_order) {
  mete::router memory({.log_bytes = 4096});
  std::vector<void*> records;
  while (memory.usage(route::log).fall_overs == 0)
    records.push_back(memory.allocate(100, 16, lifetime::log));
  memory.deallocate(records.back(), 100); // that fell over
  records.pop_back();
  ASSERT_GT(records.size(), 10u);
  const std::size_t full = memory.usage(route::log).memory.used_bytes;
  memory.deallocate(records[1], 100);
  EXPECT_EQ(memory.usage(route::log).memory.used_bytes, full) << "the one before it lives";
  memory.deallocate(records[0], 100);
  EXPECT_LE(memory.usage(route::log).memory.used_bytes, full - 200) << "now both are back";
  void* const next = memory.allocate(100, 16, lifetime::log);
  EXPECT_EQ(memory.usage(route::log).fall_overs, 1u);
  memory.deallocate(next, 100);
  for (std::size_t at = records.size(); at-- != 2;)
    memory.deallocate(records[at], 100);
  EXPECT_EQ(memory.usage(route::log).memory.used_bytes, 0u);
}

TEST(router, log_records_that_do_not_fit_are_objects) {
  mete::router memory({.log_bytes = 4096});
  void* const small = memory.allocate(3000, 16, lifetime::log);
  void* const large = memory.allocate(5'000'000, 16, lifetime::log);
  EXPECT_EQ(memory.usage(route::log).fall_overs, 2u);
  EXPECT_EQ(memory.usage(route::small).allocations, 1u);
  EXPECT_EQ(memory.usage(route::large).allocations, 1u);
  memory.deallocate(small, 3000);
  memory.deallocate(large, 5'000'000);
}

TEST(router, objects_fall_over_to_the_next_larger_part) {
  mete::router memory({.small_bytes = 20'000, .medium_bytes = 50'000});
  mete::test::model blocks(memory);
  for (int count = 0; count < 2000; ++count)
    ASSERT_TRUE(blocks.allocate(100, 8));
  const mete::route_usage small = memory.usage(route::small);
  const mete::route_usage medium = memory.usage(route::medium);
  EXPECT_EQ(small.allocations + small.fall_overs, 2000u);
  EXPECT_EQ(medium.allocations + medium.fall_overs, small.fall_overs);
  EXPECT_EQ(memory.usage(route::large).allocations, medium.fall_overs);
  EXPECT_GT(medium.allocations, 50u);
  EXPECT_GT(medium.fall_overs, 1000u);
  blocks.deallocate_all();
  EXPECT_EQ(memory.usage().used_bytes, 0u);
}

// Slabs of one size become slabs of another.
TEST(router, small_memory_serves_all_sizes_by_turns) {
  mete::router memory({.small_bytes = 1'000'000, .medium_bytes = 65'536});
  for (std::size_t size = 64; size <= 4096; size *= 2) {
    std::vector<void*> blocks(600'000 / size);
    for (void*& each : blocks)
      each = memory.allocate(size);
    for (void* const each : blocks)
      memory.deallocate(each, size);
  }
  EXPECT_EQ(memory.usage(route::small).fall_overs, 0u);
}

TEST(router, the_range_is_all_that_is_acquired) {
  mete::heap_source source;
  mete::router memory({.upstream = &source});
  EXPECT_EQ(source.usage().acquisitions, 1u);
  mete::test::model blocks(memory);
  for (int count = 0; count < 1000; ++count)
    for (const lifetime hint : all_lifetimes)
      blocks.add(memory.allocate(100, 16, hint), 100, 16);
  EXPECT_EQ(source.usage().acquisitions, 1u);
  EXPECT_EQ(memory.usage().reserved_bytes, source.usage().acquired_bytes);
  blocks.check_all();
  EXPECT_EQ(fall_overs(memory), 0u);
}

TEST(router, parts_are_as_large_as_was_asked) {
  mete::router memory({.scratch_bytes = 12'345, .task_bytes = 54'321, .permanent_bytes = 1 << 30});
  EXPECT_EQ(memory.usage(route::scratch).memory.reserved_bytes, 12'345u);
  EXPECT_NE(memory.scratch().try_allocate(12'345, 1), nullptr);
  EXPECT_EQ(memory.scratch().try_allocate(1, 1), nullptr);
  EXPECT_GT(memory.usage(route::task).memory.reserved_bytes, 54'000u);
  EXPECT_LE(memory.usage(route::task).memory.reserved_bytes, 54'321u);
  EXPECT_NE(memory.permanent().try_allocate(1'000'000'000), nullptr);
}

TEST(router, the_largest_medium_block_is_as_large_as_the_part) {
  mete::router memory({.medium_bytes = 1 << 20, .max_medium_bytes = 1 << 20});
  void* const block = memory.allocate(1 << 20);
  EXPECT_EQ(memory.usage(route::medium).allocations, 1u);
  memory.deallocate(block, 1 << 20);
}

TEST(router, parts_that_cannot_be_are_empty) {
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX - 4095}) {
    mete::router memory({.scratch_bytes = bytes, .log_bytes = bytes, .medium_bytes = bytes});
    EXPECT_EQ(memory.usage().reserved_bytes, 0u);
    void* const block = memory.allocate(100, 16, lifetime::scratch);
    EXPECT_EQ(memory.usage(route::scratch).fall_overs, 1u);
    memory.deallocate(block, 100);
  }
}

TEST(router, alignments) {
  mete::router memory;
  for (const lifetime hint : all_lifetimes) {
    mete::hinted part({.to = memory, .as = hint});
    for (const std::size_t size : {1u, 24u, 72u, 300u, 1100u, 4096u, 5000u, 2'000'000u})
      mete::test::expect_alignments(part, size);
  }
  EXPECT_EQ(memory.usage(route::large).memory.used_bytes, 0u);
}

TEST(router, impossible_requests) {
  mete::heap_source heap;
  mete::limit_source source(heap, 1'000'000);
  mete::router memory(small_parts(&source));
  for (const lifetime hint : all_lifetimes) {
    mete::hinted part({.to = memory, .as = hint});
    mete::test::expect_impossible_requests_fail(part);
    mete::test::expect_exhaustion_is_told(part, 2'000'000);
    EXPECT_NE(part.try_allocate(0), nullptr);
  }
}

TEST(router, exhaustion_names_the_part) {
  mete::heap_source heap;
  mete::limit_source source(heap, 1'000'000);
  mete::router memory(small_parts(&source));
  while (memory.try_allocate(1000, 16, lifetime::task) != nullptr) {
  }
  const auto text_for = [&](std::size_t size, lifetime hint) -> std::string {
    try {
      static_cast<void>(memory.allocate(size, 16, hint));
    } catch (const mete::out_of_memory& thrown) {
      return thrown.what();
    }
    return "nothing was thrown";
  };
  const std::string task = text_for(1000, lifetime::task);
  EXPECT_NE(task.find("level.task cannot give 1000 bytes"), std::string::npos) << task;
  const std::string room = std::to_string(memory.usage(route::task).memory.reserved_bytes);
  EXPECT_NE(task.find(" of " + room + " bytes in use"), std::string::npos) << task;
  EXPECT_EQ(text_for(300'000, lifetime::log).find("mete: level.log cannot give"), 0u);
  EXPECT_EQ(text_for(300'000, lifetime::object).find("mete: level.large cannot give"), 0u);
  while (memory.try_allocate(4000) != nullptr) {
  }
  EXPECT_EQ(text_for(4000, lifetime::object).find("mete: level.small cannot give"), 0u);
  EXPECT_EQ(text_for(20'000, lifetime::object).find("mete: level.medium cannot give"), 0u);
}

TEST(router, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::router memory(small_parts(&source));
    mete::test::model blocks(memory);
    for (int round = 0; round < 2; ++round) {
      const auto scope = memory.scratch_scope();
      for (std::size_t count = 0; count < 40; ++count)
        for (const lifetime hint : {lifetime::object, lifetime::log})
          if (void* const block = memory.try_allocate(count * 200, 16, hint))
            blocks.add(block, count * 200, 16);
      for (std::size_t count = 0; count < 30; ++count)
        for (const lifetime hint : {lifetime::scratch, lifetime::frame, lifetime::task})
          if (void* const block = memory.try_allocate(1000, 16, hint))
            std::memset(block, 1, 1000);
      EXPECT_EQ(memory.check_invariants(), nullptr);
      memory.next_frame();
      memory.reset_task();
      while (blocks.live() > 20)
        blocks.deallocate(blocks.live() / 2);
      memory.trim();
    }
    blocks.deallocate_all();
  });
}

TEST(router, standard_containers) {
  for (const lifetime hint : all_lifetimes) {
    mete::router memory(small_parts());
    mete::resource<mete::hinted> resource({.to = memory, .as = hint});
    mete::test::expect_containers_work(resource);
  }
  mete::resource<mete::router> whole;
  mete::test::expect_containers_work(whole);
}

TEST(router, parts_make_objects) {
  int alive = 0;
  struct counted {
    explicit counted(int& counter) : alive(&counter) { ++counter; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    ~counted() { --*alive; }
    int* alive;
  };
  mete::router memory;
  memory.frames().make<counted>(alive);
  memory.task().make<counted>(alive);
  memory.next_frame();
  EXPECT_EQ(alive, 2);
  memory.next_frame();
  EXPECT_EQ(alive, 1);
  memory.reset_task();
  EXPECT_EQ(alive, 0);
}

TEST(router, threads_share_a_locked_one) {
  mete::locked<mete::router> memory(small_parts());
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 3; ++thread)
    threads.emplace_back([&memory, thread] {
      for (int count = 0; count < 2000; ++count) {
        void* const block = memory.with([&](mete::router& in) {
          return in.allocate(64, 16, count % 2 == 0 ? lifetime::log : lifetime::object);
        });
        std::memset(block, thread, 64);
        memory.deallocate(block, 64);
      }
    });
  threads.clear();
  EXPECT_EQ(memory.usage().used_bytes, 0u);
}

TEST(router_death_test, misuse) {
  mete::router memory({.name = "level"});
  mete::router other;
  int elsewhere = 0;
  EXPECT_DEATH(memory.deallocate(&elsewhere, 4), "level: foreign free");
  EXPECT_DEATH(memory.deallocate(other.allocate(64), 64), "level: foreign free");

  auto* const small = static_cast<std::byte*>(memory.allocate(64));
  EXPECT_DEATH(memory.deallocate(small + 8, 64), "level.small: invalid free");
  EXPECT_DEATH(memory.deallocate(small, 100'000), "level.small: invalid free .*another size");
  memory.deallocate(small, 64);
  EXPECT_DEATH(memory.deallocate(small, 64), "level.small: double free");

  void* const medium = memory.allocate(10'000);
  EXPECT_DEATH(memory.deallocate(medium, 100'000), "level.medium: double free");
  memory.deallocate(medium, 10'000);
  EXPECT_DEATH(memory.deallocate(medium, 10'000), "level.medium: double free");

  void* const large = memory.allocate(10'000'000);
  EXPECT_DEATH(memory.deallocate(large, 10'000'001), "level: invalid free .*another size");
  memory.deallocate(large, 10'000'000);
  EXPECT_DEATH(memory.deallocate(large, 10'000'000), "level: foreign free");

  void* scratch = nullptr;
  {
    const auto scope = memory.scratch_scope();
    scratch = memory.allocate(100, 16, lifetime::scratch);
  }
  EXPECT_DEATH(memory.deallocate(scratch, 100), "level.scratch: .*has been ended already");
}

TEST(router_death_test, misuse_of_log_records) {
  mete::router memory({.name = "level"});
  auto* const first = static_cast<std::byte*>(memory.allocate(100, 16, lifetime::log));
  auto* const second = static_cast<std::byte*>(memory.allocate(100, 16, lifetime::log));
  EXPECT_DEATH(memory.deallocate(first, 101), "level.log: invalid free");
  EXPECT_DEATH(memory.deallocate(first + 16, 100), "level.log: invalid free");
  EXPECT_DEATH(memory.deallocate(first + 1, 100), "level.log: invalid free");
  EXPECT_DEATH(memory.deallocate(first - 40, 100), "level.log: invalid free");
  memory.deallocate(second, 100);
  EXPECT_DEATH(memory.deallocate(second, 100), "level.log: invalid free") << "not yet consumed";
  memory.deallocate(first, 100);
  EXPECT_DEATH(memory.deallocate(first, 100), "level.log: invalid free");
}

} // namespace
