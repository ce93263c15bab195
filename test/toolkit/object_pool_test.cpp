// SPDX-License-Identifier: MIT
#include <mete/object_pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/failing_source.hpp"

namespace {

struct particle {
  explicit particle(int which) : number(which), text(40, 'x') { ++living; }
  particle(const particle&) = delete;
  particle& operator=(const particle&) = delete;
  ~particle() { --living; }
  int number;
  std::string text; // a destructor that is not run is reported as a leak
  static inline int living = 0;
};
using particle_pool = mete::object_pool<particle>;

static_assert(sizeof(mete::box<particle>) == 8);
static_assert(sizeof(particle_pool::handle) == 8);
static_assert(!std::is_copy_constructible_v<mete::box<particle>>);
static_assert(std::is_nothrow_move_constructible_v<mete::box<particle>>);

TEST(object_pool, random_use_agrees_with_the_model) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    std::mt19937 random(seed);
    particle_pool pool({.max_empty_bytes = (seed - 1) * 16384});
    std::map<int, std::pair<mete::box<particle>, particle_pool::handle>> living;
    std::vector<particle_pool::handle> gone;
    for (int step = 0; step < 20'000; ++step) {
      const bool growing = step / 3000 % 2 == 0;
      if (living.empty() || random() % 100 < (growing ? 75u : 25u)) {
        auto one = pool.create(step);
        const auto handle = pool.handle_of(*one);
        living.emplace(step, std::pair(std::move(one), handle));
      } else {
        const auto at = std::next(living.begin(), static_cast<long>(random() % living.size()));
        gone.push_back(at->second.second);
        living.erase(at);
      }
      if (random() % 1000 == 0)
        pool.trim();
      ASSERT_EQ(pool.size(), living.size());
      if (step % 500 != 0)
        continue;
      ASSERT_EQ(pool.check_invariants(), nullptr);
      for (const auto& [number, one] : living) {
        ASSERT_EQ(one.first->number, number);
        ASSERT_EQ(pool.get(one.second), one.first.get());
        ASSERT_TRUE(pool.owns(one.first.get()));
      }
      for (const auto handle : gone)
        ASSERT_EQ(pool.get(handle), nullptr);
      std::size_t visited = 0;
      pool.for_each([&](const particle& one) { visited += living.contains(one.number); });
      ASSERT_EQ(visited, living.size());
    }
    living.clear();
    EXPECT_EQ(particle::living, 0);
  }
}

TEST(object_pool, handles_are_stale_even_when_the_slab_has_gone_and_another_came) {
  mete::heap_source source;
  particle_pool pool({.upstream = &source, .max_empty_bytes = 0});
  EXPECT_EQ(pool.get({}), nullptr);
  std::vector<particle_pool::handle> gone;
  for (int round = 0; round < 20; ++round) {
    std::vector<mete::box<particle>> boxes;
    for (int count = 0; count < 1000; ++count)
      boxes.push_back(pool.create(count));
    for (const auto& each : boxes)
      gone.push_back(pool.handle_of(*each));
    for (const auto handle : gone)
      if (const particle* const found = pool.get(handle)) {
        ASSERT_EQ(pool.handle_of(*found), handle);
      }
    for (const auto& each : boxes)
      ASSERT_EQ(pool.get(pool.handle_of(*each)), each.get());
    boxes.clear();
    pool.trim();
    EXPECT_LT(source.usage().acquired_bytes, 4096u) << "only what handles need";
    for (const auto handle : gone)
      ASSERT_EQ(pool.get(handle), nullptr);
  }
}

TEST(object_pool, what_is_kept_empty_is_counted_in_bytes) {
  struct large {
    std::byte bytes[8192];
  };
  for (const std::size_t max_empty_bytes : {std::size_t{0}, std::size_t{500'000}, SIZE_MAX}) {
    mete::object_pool<large> pool({.max_empty_bytes = max_empty_bytes});
    for (int count = 0; count < 200; ++count)
      static_cast<void>(pool.create().release());
    const std::size_t full = pool.usage().reserved_bytes;
    pool.clear();
    const std::size_t kept = pool.usage().reserved_bytes;
    EXPECT_LE(kept, std::min(full, max_empty_bytes) + 200'000) << "and the slabs used last";
    EXPECT_GE(kept + 200'000, std::min(full, max_empty_bytes));
  }
}

TEST(object_pool, aggregates_are_created_too) {
  struct point {
    int x, y;
  };
  mete::object_pool<point> pool;
  EXPECT_EQ(pool.create(3, 4)->y, 4);
  EXPECT_EQ(pool.try_create(3, 4)->x, 3);
}

TEST(object_pool, handles_that_never_were) {
  particle_pool pool;
  const auto one = pool.create(1);
  const auto handle = pool.handle_of(*one);
  EXPECT_EQ(pool.get(handle)->number, 1);
  EXPECT_EQ(std::as_const(pool).get(handle), one.get());
  for (const std::uint32_t index : {1u, 1000u, 1u << 20, UINT32_MAX})
    for (const std::uint32_t generation : {0u, 1u, 2u, UINT32_MAX})
      EXPECT_EQ(pool.get({index, generation}), nullptr);
  EXPECT_EQ(pool.get({handle.index, handle.generation + 1}), nullptr);
  EXPECT_EQ(pool.get({handle.index, handle.generation + 2}), nullptr);
}

TEST(object_pool, without_boxes_objects_live_until_they_are_destroyed) {
  {
    particle_pool pool;
    std::vector<particle_pool::handle> handles;
    for (int count = 0; count < 500; ++count)
      handles.push_back(pool.handle_of(*pool.create(count).release()));
    EXPECT_EQ(particle::living, 500);
    EXPECT_TRUE(pool.destroy(handles[7]));
    EXPECT_FALSE(pool.destroy(handles[7]));
    pool.destroy(pool.get(handles[8]));
    EXPECT_EQ(particle::living, 498);
  }
  EXPECT_EQ(particle::living, 0) << "what is left is destroyed";
}

TEST(object_pool, boxes_own) {
  particle_pool pool;
  mete::box<particle> one = pool.create(1);
  mete::box<particle> two = pool.create(2);
  EXPECT_EQ(particle::living, 2);
  two = std::move(one);
  EXPECT_EQ(particle::living, 1);
  EXPECT_EQ(two->number, 1);
  mete::box<particle> three(std::move(two));
  EXPECT_EQ((*three).number, 1);
  EXPECT_FALSE(two); // NOLINT(bugprone-use-after-move): it says that it is empty
  three.reset();
  EXPECT_EQ(particle::living, 0);
  mete::box<particle> again(pool.create(3).release());
  EXPECT_EQ(again.get()->number, 3);
}

TEST(object_pool, for_each_may_destroy_and_create) {
  mete::heap_source source;
  particle_pool pool({.upstream = &source, .max_empty_bytes = 0});
  for (int count = 0; count < 2000; ++count)
    static_cast<void>(pool.create(count).release());
  int visited = 0;
  pool.for_each([&](particle& each) {
    ++visited;
    pool.destroy(&each); // releases slabs meanwhile
    if (visited % 100 == 0)
      static_cast<void>(pool.create(-1).release());
    ASSERT_LT(visited, 10'000);
  });
  EXPECT_GE(visited, 2000);
  EXPECT_EQ(pool.check_invariants(), nullptr);
}

struct node {
  mete::box<node> next;
};

TEST(object_pool, many_are_destroyed_together) {
  particle_pool pool({.max_empty_bytes = 0});
  std::vector<particle_pool::handle> handles;
  for (int number = 0; number < 1000; ++number)
    handles.push_back(pool.handle_of(*pool.create(number).release()));
  EXPECT_EQ(pool.erase_if([](const particle& each) { return each.number % 3 == 0; }), 334u);
  EXPECT_EQ(pool.size(), 666u);
  EXPECT_EQ(pool.erase_if([](const particle& each) { return each.number % 3 == 0; }), 0u);
  for (int number = 0; number < 1000; ++number) {
    const particle* const found = pool.get(handles[static_cast<std::size_t>(number)]);
    ASSERT_EQ(found == nullptr, number % 3 == 0);
    if (found != nullptr) {
      ASSERT_EQ(found->number, number);
    }
  }
  pool.clear();
  EXPECT_EQ(pool.size(), 0u);
  EXPECT_EQ(particle::living, 0);
  EXPECT_EQ(pool.get(handles[1]), nullptr);
  EXPECT_EQ(pool.check_invariants(), nullptr);
  EXPECT_TRUE(pool.create(1));
}

TEST(object_pool, objects_may_own_objects_of_the_same_pool) {
  mete::object_pool<node> pool;
  {
    mete::box<node> list;
    for (int count = 0; count < 1000; ++count) {
      mete::box<node> added = pool.create();
      added->next = std::move(list);
      list = std::move(added);
    }
    EXPECT_EQ(pool.size(), 1000u);
  }
  EXPECT_EQ(pool.size(), 0u);
  // Left for the pool, which destroys the owned ones first, or the owners.
  for (const bool owner_first : {true, false}) {
    mete::object_pool<node> ends;
    mete::box<node> one = ends.create();
    mete::box<node> two = ends.create();
    (owner_first ? one : two)->next = std::move(owner_first ? two : one);
    static_cast<void>((owner_first ? one : two).release());
  }
}

TEST(object_pool, a_constructor_that_throws_leaves_nothing) {
  struct throws {
    explicit throws(bool now) {
      if (now)
        throw std::runtime_error("no");
    }
  };
  mete::object_pool<throws> pool;
  EXPECT_THROW(static_cast<void>(pool.create(true)), std::runtime_error);
  EXPECT_THROW(static_cast<void>(pool.try_create(true)), std::runtime_error);
  EXPECT_EQ(pool.size(), 0u);
  int visited = 0;
  pool.for_each([&](const throws&) { ++visited; });
  EXPECT_EQ(visited, 0);
  EXPECT_TRUE(pool.create(false));
  EXPECT_EQ(pool.check_invariants(), nullptr);
}

template <std::size_t Alignment>
struct alignas(Alignment) aligned {
  char bytes[24];
};

template <std::size_t Alignment>
void expect_aligned() {
  mete::object_pool<aligned<Alignment>> pool;
  for (int count = 0; count < 200; ++count) {
    const auto* const object = pool.create().release();
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(object) % Alignment, 0u);
  }
}

TEST(object_pool, alignments) {
  expect_aligned<1>();
  expect_aligned<16>();
  expect_aligned<64>();
  expect_aligned<256>();
  expect_aligned<4096>();
}

TEST(object_pool, objects_of_one_byte_and_of_many) {
  mete::object_pool<char> small;
  std::vector<mete::box<char>> boxes;
  for (int count = 0; count < 10'000; ++count)
    boxes.push_back(small.create(static_cast<char>(count)));
  for (int count = 0; count < 10'000; ++count)
    ASSERT_EQ(*boxes[static_cast<std::size_t>(count)], static_cast<char>(count));
  boxes.clear();
  struct large {
    char bytes[100'000];
  };
  mete::object_pool<large> pool;
  const auto one = pool.create();
  const auto two = pool.create();
  EXPECT_GE(pool.usage().reserved_bytes, 200'000u);
}

TEST(object_pool, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    particle_pool pool({.upstream = &source, .max_empty_bytes = 0});
    std::vector<mete::box<particle>> boxes;
    for (int round = 0; round < 3; ++round) {
      for (int count = 0; count < 6000; ++count)
        if (auto one = pool.try_create(count))
          boxes.push_back(std::move(one));
      boxes.resize(boxes.size() / 10);
      EXPECT_EQ(pool.size(), boxes.size());
      EXPECT_EQ(pool.check_invariants(), nullptr);
    }
  });
}

TEST(object_pool, exhaustion_is_told) {
  alignas(16) static std::byte memory[1000];
  mete::buffer_source buffer(memory);
  particle_pool pool({.name = "particles", .upstream = &buffer});
  EXPECT_FALSE(pool.try_create(1));
  try {
    static_cast<void>(pool.create(1));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const mete::out_of_memory& thrown) {
    EXPECT_NE(std::string(thrown.what()).find("particles"), std::string::npos);
    EXPECT_EQ(thrown.report().size, sizeof(particle));
  }
  EXPECT_EQ(particle::living, 0);
}

TEST(object_pool_death_test, misuse) {
  mete::object_pool<std::uint64_t> pool({.name = "numbers"});
  mete::object_pool<std::uint64_t> other;
  std::uint64_t elsewhere = 0;
  std::uint64_t* const one = pool.create(1u).release();
  std::uint64_t* const two = pool.create(2u).release();
  EXPECT_DEATH(pool.destroy(&elsewhere), "numbers: foreign free");
  EXPECT_DEATH(pool.destroy(other.create(1u).release()), "numbers: foreign free");
  EXPECT_DEATH(pool.destroy(reinterpret_cast<std::uint64_t*>(reinterpret_cast<char*>(one) + 4)),
               "numbers: invalid free");
  pool.destroy(one);
  pool.destroy(two);
  EXPECT_DEATH(pool.destroy(one), "numbers: double free");
  EXPECT_DEATH(pool.destroy(two), "numbers: double free");
}

} // namespace
