// SPDX-License-Identifier: MIT
#include <mete/adapt.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <random>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <mete/arena.hpp>
#include <mete/debug.hpp>
#include <mete/frame.hpp>
#include <mete/stack.hpp>

#include "support/containers.hpp"

namespace {

using mete::arena;

TEST(resource, containers_over_every_allocator) {
  const auto work = [](auto& resource) {
    mete::test::expect_containers_work(resource);
    EXPECT_GT(resource.get().usage().peak_bytes, 0u);
  };
  mete::resource<arena> over_arena;
  work(over_arena);
  mete::resource<mete::frame_arena<2>> over_frames;
  work(over_frames);
  mete::resource<mete::shared_stack> over_stack({.bytes = 16 << 20});
  work(over_stack);
  mete::resource<mete::guarded<arena>> over_guarded;
  work(over_guarded);
  EXPECT_EQ(over_guarded.get().usage().used_bytes, 0u) << "the containers have left something";
}

TEST(resource_ref, containers) {
  mete::guarded<arena> guarded;
  mete::resource_ref resource(guarded);
  EXPECT_EQ(&resource.get(), &guarded);
  mete::test::expect_containers_work(resource);
  EXPECT_EQ(guarded.usage().used_bytes, 0u);
}

TEST(resource, is_equal_to_itself_only) {
  mete::resource<arena> one;
  mete::resource<arena> other;
  const mete::resource_ref reference(one.get());
  EXPECT_TRUE(one.is_equal(one));
  EXPECT_FALSE(one.is_equal(other));
  EXPECT_FALSE(one.is_equal(reference));
}

TEST(resource, exhaustion_is_thrown_with_the_name) {
  mete::resource<mete::shared_stack> resource({.name = "level", .bytes = 100});
  std::pmr::vector<int> numbers(&resource);
  try {
    numbers.resize(1000);
    ADD_FAILURE();
  } catch (const mete::out_of_memory& thrown) {
    EXPECT_STREQ(thrown.report().allocator, "level");
  }
}

// ---- stl --------------------------------------------------------------------------------------

template <class T>
using in_guarded = mete::stl<T, mete::guarded<arena>>;
template <class T>
using vector_of = std::vector<T, in_guarded<T>>;
using string = std::basic_string<char, std::char_traits<char>, in_guarded<char>>;

TEST(stl, containers_do_what_they_do_with_the_default) {
  mete::guarded<arena> inner;
  {
    vector_of<int> vector(inner);
    std::list<string, in_guarded<string>> list(inner);
    std::map<int, string, std::less<>, in_guarded<std::pair<const int, string>>> map(inner);
    std::unordered_map<int, int, std::hash<int>, std::equal_to<>,
                       in_guarded<std::pair<const int, int>>>
        hashed(inner);
    std::vector<int> expected;
    std::map<int, std::string> expected_map;
    std::mt19937 random(3);
    for (int step = 0; step < 2000; ++step) {
      const int number = static_cast<int>(random() % 300);
      const std::string text(random() % 50, 'x');
      vector.push_back(number);
      expected.push_back(number);
      list.emplace_back(text.c_str(), inner);
      if (list.size() > 50)
        list.pop_front();
      map.insert_or_assign(number, string(text.c_str(), inner));
      expected_map.insert_or_assign(number, text);
      if (step % 3 == 0) {
        map.erase(number / 2);
        expected_map.erase(number / 2);
      }
      ++hashed[number];
    }
    EXPECT_TRUE(std::equal(vector.begin(), vector.end(), expected.begin(), expected.end()));
    ASSERT_EQ(map.size(), expected_map.size());
    for (const auto& [key, value] : map)
      EXPECT_EQ(expected_map.at(key), value.c_str());
    int sum = 0;
    for (const auto& [number, count] : hashed)
      sum += count;
    EXPECT_EQ(sum, 2000);
    const auto shared = std::allocate_shared<int>(in_guarded<int>(inner), 7);
    EXPECT_EQ(*shared, 7);
  }
  EXPECT_EQ(inner.usage().used_bytes, 0u);
}

TEST(stl, propagates_as_it_should) {
  mete::guarded<arena> one;
  mete::guarded<arena> other;
  vector_of<int> first(100, 1, one);
  vector_of<int> second(50, 2, other);
  const int* const data = first.data();

  static_assert(std::is_nothrow_move_assignable_v<vector_of<int>>);
  static_assert(std::is_nothrow_swappable_v<vector_of<int>>);
  first.swap(second);
  EXPECT_EQ(second.data(), data) << "swapped, not copied";
  EXPECT_EQ(&second.get_allocator().get(), &one);
  EXPECT_EQ(&first.get_allocator().get(), &other);

  first = second;
  EXPECT_EQ(&first.get_allocator().get(), &other) << "who is copied to keeps its own";
  EXPECT_EQ(first.size(), 100u);

  first = std::move(second);
  EXPECT_EQ(first.data(), data) << "moved, not copied";
  EXPECT_EQ(&first.get_allocator().get(), &one);

  const vector_of<int> copy(first);
  EXPECT_EQ(&copy.get_allocator().get(), &one);
  EXPECT_EQ(copy, first);
}

TEST(stl, equal_if_over_the_same_allocator) {
  mete::guarded<arena> one;
  mete::guarded<arena> other;
  EXPECT_TRUE(in_guarded<int>(one) == in_guarded<char>(one));
  EXPECT_FALSE(in_guarded<int>(one) == in_guarded<int>(other));
  EXPECT_TRUE(in_guarded<int>(one) != in_guarded<int>(other));
  const in_guarded<double> rebound{in_guarded<int>(one)};
  EXPECT_EQ(&rebound.get(), &one);
}

TEST(stl, sizes_that_wrap_are_refused) {
  arena level({.name = "level"});
  mete::stl<double, arena> allocator(level);
  for (const std::size_t count : {SIZE_MAX, SIZE_MAX / 8 + 1, SIZE_MAX / 8, SIZE_MAX / 16 + 1})
    EXPECT_THROW(static_cast<void>(allocator.allocate(count)), mete::out_of_memory) << count;
}

struct alignas(256) wide {
  char bytes[256];
};

TEST(stl, alignment_of_the_type) {
  arena level;
  std::vector<wide, mete::stl<wide, arena>> wides(level);
  for (int count = 0; count < 10; ++count) {
    wides.emplace_back();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wides.data()) % 256, 0u);
  }
}

#if defined(__cpp_lib_allocate_at_least)
TEST(stl, allocates_at_least) {
  arena level;
  mete::stl<int, arena> allocator(level);
  const auto result = allocator.allocate_at_least(10);
  EXPECT_GE(result.count, 10u);
  allocator.deallocate(result.ptr, result.count);
}
#endif

} // namespace
