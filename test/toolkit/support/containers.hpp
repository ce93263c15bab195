// The container test: the standard containers over a memory_resource, checked against the same
// work on the default one.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_TOOLKIT_CONTAINERS_HPP
#define METE_TEST_TOOLKIT_CONTAINERS_HPP

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <memory_resource>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace mete::test {

inline void expect_containers_work(std::pmr::memory_resource& resource) {
  std::mt19937 random(7);
  std::pmr::vector<int> vector(&resource);
  std::pmr::list<std::pmr::string> list(&resource);
  std::pmr::map<int, std::pmr::string> map(&resource);
  std::pmr::unordered_map<std::pmr::string, int> hashed(&resource);
  std::pmr::vector<std::pmr::vector<std::pmr::string>> nested(&resource);
  std::vector<int> expected_vector;
  std::map<int, std::string> expected_map;
  for (int step = 0; step < 2000; ++step) {
    const int number = static_cast<int>(random() % 500);
    const std::string text(random() % 60, static_cast<char>('a' + number % 26));
    vector.push_back(number);
    expected_vector.push_back(number);
    list.emplace_back(text);
    if (list.size() > 100)
      list.erase(list.begin());
    if (step % 3 == 0) {
      map.erase(number);
      expected_map.erase(number);
    } else {
      map[number] = text;
      expected_map[number] = text;
    }
    hashed[std::pmr::string(text, &resource)] = number;
    if (nested.empty() || random() % 10 == 0)
      nested.emplace_back();
    nested.back().emplace_back(text);
    EXPECT_EQ(nested.back().back().get_allocator().resource(), &resource);
  }
  EXPECT_TRUE(
      std::equal(vector.begin(), vector.end(), expected_vector.begin(), expected_vector.end()));
  ASSERT_EQ(map.size(), expected_map.size());
  for (const auto& [key, value] : map)
    EXPECT_EQ(std::string(value), expected_map.at(key));
  EXPECT_EQ(list.size(), 100u);

  // A copy that says nothing has the default resource; a moved one keeps its own.
  const std::pmr::vector<int> copy(vector);
  EXPECT_EQ(copy.get_allocator().resource(), std::pmr::get_default_resource());
  const std::pmr::vector<int> moved(std::move(vector));
  EXPECT_EQ(moved.get_allocator().resource(), &resource);
  EXPECT_EQ(moved, copy);
}

} // namespace mete::test

#endif
