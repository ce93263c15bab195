// The intrusive list against std::deque.
//
// SPDX-License-Identifier: MIT
#include "base/list.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace mete {
namespace {

struct element {
  element* next = nullptr;
  element* previous = nullptr;
};

void expect_same(const intrusive_list<element>& list, const std::deque<element*>& model) {
  ASSERT_EQ(list.empty(), model.empty());
  ASSERT_EQ(list.first(), model.empty() ? nullptr : model.front());
  ASSERT_EQ(list.last(), model.empty() ? nullptr : model.back());
  const element* at = list.first();
  const element* before = nullptr;
  for (const element* expected : model) {
    ASSERT_EQ(at, expected);
    ASSERT_EQ(at->previous, before);
    before = at;
    at = at->next;
  }
  ASSERT_EQ(at, nullptr);
}

TEST(intrusive_list_test, agrees_with_a_model) {
  std::minstd_rand random(1);
  std::vector<element> elements(12);
  std::vector<element*> idle;
  for (element& each : elements)
    idle.push_back(&each);
  intrusive_list<element> list;
  std::deque<element*> model;
  for (int step = 0; step < 20000; ++step) {
    const unsigned action = random() % 4;
    if (action < 2 && !idle.empty()) {
      element* const added = idle.back();
      idle.pop_back();
      if (action == 0) {
        list.push_front(added);
        model.push_front(added);
      } else {
        list.push_back(added);
        model.push_back(added);
      }
    } else if (action == 2 && !model.empty()) {
      const auto removed = model.begin() + static_cast<std::ptrdiff_t>(random() % model.size());
      list.remove(*removed);
      idle.push_back(*removed);
      model.erase(removed);
    } else if (action == 3) {
      element* const popped = list.pop_front();
      ASSERT_EQ(popped, model.empty() ? nullptr : model.front());
      if (popped != nullptr) {
        idle.push_back(popped);
        model.pop_front();
      }
    }
    expect_same(list, model);
    std::shuffle(idle.begin(), idle.end(), random);
  }
}

TEST(intrusive_list_death_test, removing_what_is_not_on_the_list_is_found) {
#if defined(METE_DEBUG_CHECKS)
  intrusive_list<element> list;
  element on_it, stranger;
  list.push_back(&on_it);
  EXPECT_DEATH(list.remove(&stranger), "internal check failed");
#else
  GTEST_SKIP() << "only builds with METE_DEBUG_CHECKS look at this";
#endif
}

} // namespace
} // namespace mete
