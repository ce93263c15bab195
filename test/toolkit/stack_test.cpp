// SPDX-License-Identifier: MIT
#include <mete/stack.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

#include <interleave.hpp>

#include "support/failing_source.hpp"
#include "support/model.hpp"
#include "support/requests.hpp"

namespace {

static_assert(mete::allocator<mete::shared_stack>);

TEST(shared_stack, random_use_agrees_with_the_model) {
  mete::shared_stack stack({.bytes = 4'000'000});
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    mete::test::exercise(stack, {.seed = seed, .operations = 3000});
    stack.reset();
  }
}

TEST(shared_stack, scopes_end_what_is_above_them) {
  mete::shared_stack stack;
  mete::test::model blocks(stack);
  ASSERT_TRUE(blocks.allocate(100, 8));
  const std::size_t used = stack.usage().used_bytes;
  {
    const auto outer = stack.scope();
    ASSERT_NE(stack.try_allocate(1000), nullptr);
    {
      const auto inner = stack.scope();
      ASSERT_NE(stack.try_allocate(2000), nullptr);
    }
    EXPECT_LT(stack.usage().used_bytes, used + 1100);
    EXPECT_GE(stack.usage().peak_bytes, used + 3000);
  }
  EXPECT_EQ(stack.usage().used_bytes, used);
  EXPECT_GE(stack.usage().peak_bytes, used + 3000) << "the high-water mark stays";
  blocks.check_all();
  auto taken = stack.scope();
  ASSERT_NE(stack.try_allocate(10), nullptr);
  { const auto moved = std::move(taken); }
  EXPECT_EQ(stack.usage().used_bytes, used);
}

TEST(shared_stack, an_overflow_changes_nothing) {
  alignas(64) std::array<std::byte, 128> buffer;
  mete::shared_stack stack({.buffer = buffer});
  mete::test::model blocks(stack);
  ASSERT_TRUE(blocks.allocate(100, 1));
  for (const std::size_t size : {std::size_t{29}, std::size_t{1000}, SIZE_MAX, SIZE_MAX - 100})
    EXPECT_EQ(stack.try_allocate(size, 1), nullptr);
  EXPECT_EQ(stack.try_allocate(20, 16), nullptr) << "the padding does not fit";
  EXPECT_EQ(stack.usage().used_bytes, 100u);
  ASSERT_TRUE(blocks.allocate(28, 1));
  EXPECT_EQ(stack.try_allocate(0, 1), nullptr);
  EXPECT_EQ(stack.usage().used_bytes, 128u);
  EXPECT_EQ(stack.usage().largest_request_bytes, SIZE_MAX);
  blocks.deallocate_all();
}

TEST(shared_stack, only_the_topmost_block_goes_back) {
  mete::shared_stack stack;
  void* const first = stack.allocate(100, 1);
  void* const second = stack.allocate(100, 1);
  stack.deallocate(first, 100, 1);
  EXPECT_EQ(stack.usage().used_bytes, 200u);
  stack.deallocate(second, 100, 1);
  EXPECT_EQ(stack.usage().used_bytes, 100u);
  EXPECT_EQ(stack.allocate(50, 1), second);
}

TEST(shared_stack, requests) {
  mete::shared_stack stack({.name = "level", .bytes = 100'000});
  mete::test::expect_alignments(stack, 24);
  stack.reset();
  mete::test::expect_alignments(stack, 24, 32768);
  mete::test::expect_impossible_requests_fail(stack);
  mete::test::expect_exhaustion_is_told(stack, 200'000);
}

TEST(shared_stack, every_failure_of_the_source) {
  mete::test::for_every_failure([](mete::source& source) {
    mete::shared_stack stack({.upstream = &source, .bytes = 1000});
    mete::test::model blocks(stack);
    EXPECT_EQ(blocks.allocate(100, 8), stack.usage().reserved_bytes != 0);
    stack.reset();
    EXPECT_EQ(stack.usage().used_bytes, 0u);
  });
}

TEST(shared_stack, owns_its_region_only) {
  alignas(16) std::array<std::byte, 64> buffer;
  mete::shared_stack stack({.buffer = buffer});
  EXPECT_TRUE(stack.owns(buffer.data()));
  EXPECT_TRUE(stack.owns(buffer.data() + 63));
  EXPECT_FALSE(stack.owns(buffer.data() + 64));
  EXPECT_FALSE(stack.owns(nullptr));
}

TEST(shared_stack, many_threads_share_a_region_until_it_is_full) {
  for (int round = 0; round < 20; ++round) {
    mete::shared_stack stack({.bytes = 200'000});
    constexpr unsigned threads = 4;
    std::array<std::vector<std::pair<std::byte*, std::size_t>>, threads> given;
    std::vector<std::thread> running;
    for (unsigned which = 0; which < threads; ++which)
      running.emplace_back([&, which] {
        for (std::size_t step = 0;; ++step) {
          const std::size_t size = 1 + (step * 37 + which) % 200;
          const std::size_t alignment = std::size_t{1} << (step % 7);
          auto* const block = static_cast<std::byte*>(stack.try_allocate(size, alignment));
          if (block == nullptr)
            return;
          std::memset(block, static_cast<int>(which), size);
          if (step % 5 == 0)
            stack.deallocate(block, size, alignment);
          else
            given[which].emplace_back(block, size);
        }
      });
    for (std::thread& each : running)
      each.join();
    EXPECT_LE(stack.usage().used_bytes, stack.usage().reserved_bytes);
    EXPECT_GE(stack.usage().peak_bytes, stack.usage().used_bytes);
    EXPECT_LE(stack.usage().peak_bytes, stack.usage().reserved_bytes);
    for (unsigned which = 0; which < threads; ++which)
      for (const auto& [block, size] : given[which])
        for (const std::byte each : std::span(block, size))
          ASSERT_EQ(each, static_cast<std::byte>(which)) << "two threads had the same byte";
    stack.reset();
    EXPECT_EQ(stack.usage().used_bytes, 0u);
  }
}

TEST(shared_stack_death_test, a_mark_of_what_has_ended) {
  mete::shared_stack stack({.name = "level"});
  ASSERT_NE(stack.try_allocate(100), nullptr);
  const auto late = stack.mark();
  stack.reset();
  EXPECT_DEATH(stack.rewind(late), "level: rewind .* the mark was taken");
}

TEST(shared_stack_death_test, a_block_of_somebody_else) {
  mete::shared_stack stack({.name = "level"});
  int elsewhere = 0;
  EXPECT_DEATH(stack.deallocate(&elsewhere, 4, 4), "level: deallocate .* not of this stack");
}

TEST(shared_stack_death_test, a_block_that_has_been_ended) {
  mete::shared_stack stack({.name = "level"});
  void* const block = stack.allocate(100);
  stack.deallocate(block, 100);
  EXPECT_DEATH(stack.deallocate(block, 100), "level: deallocate .* it has been ended already");
}

// ---- every interleaving -----------------------------------------------------------------------

using mete::interleave::check;
using mete::interleave::explore;
using mete::interleave::modelled_atomic;
using mete::interleave::modelled_memory;
using mete::interleave::modelled_plain;
using mete::interleave::outcome;

// A region of four bytes, each with a modelled cell that its holder writes: two holders at a time,
// or two without an order between them, are a data race.
template <class Memory>
struct shared_region {
  alignas(64) std::array<std::byte, 4> bytes{};
  std::array<modelled_plain<int>, 4> cells;
  mete::basic_shared_stack<Memory> stack{{.buffer = bytes}};

  std::byte* take(std::size_t size) {
    auto* const block = static_cast<std::byte*>(stack.try_allocate(size, 1));
    check(stack.usage().used_bytes <= bytes.size(), "the top is past the end");
    if (block != nullptr)
      for (std::size_t at = 0; at < size; ++at)
        cells[index_of(block) + at] = 1;
    return block;
  }
  void give(std::byte* block, std::size_t size) {
    if (block == nullptr)
      return;
    for (std::size_t at = 0; at < size; ++at)
      cells[index_of(block) + at] = 2;
    stack.deallocate(block, size, 1);
  }
  std::size_t index_of(const std::byte* block) const {
    return static_cast<std::size_t>(block - bytes.data());
  }
};

template <class Memory = modelled_memory>
struct overflowing : shared_region<Memory> {
  static constexpr std::size_t thread_count = 3;
  std::array<bool, 3> got{};
  void thread(std::size_t index) {
    got[index] = this->take(index == 0 ? 1 : 2) != nullptr;
    if (index == 0)
      this->take(3);
  }
  void finish() {
    check(got[0] || (got[1] && got[2]), "who could be served was not");
    const std::size_t used = this->stack.used_for_test().peek();
    check(used >= 3 && used <= 4, "the top is where no sum of blocks is");
  }
};

template <class Memory = modelled_memory>
struct giving_back : shared_region<Memory> {
  static constexpr std::size_t thread_count = 2;
  void thread(std::size_t index) {
    for (int round = 0; round < 2; ++round) {
      std::byte* const block = this->take(1 + index);
      this->give(block, 1 + index);
    }
  }
  void finish() {
    check(this->stack.used_for_test().peek() <= 4, "the top is past the end");
    check(this->stack.usage().peak_bytes <= 4, "the high-water mark is past the end");
  }
};

// Two phases: the thread that comes last ends the first one, and then both go on.
template <class Memory = modelled_memory>
struct phases : shared_region<Memory> {
  static constexpr std::size_t thread_count = 2;
  modelled_atomic<int> arrived{0};
  modelled_atomic<int> rewound{0};
  void thread(std::size_t) {
    this->take(2);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == 1) {
      this->stack.reset();
      rewound.store(1, std::memory_order_relaxed); // the stack orders what is in the blocks
    } else {
      rewound.wait_until([](int value) { return value == 1; }, std::memory_order_relaxed);
    }
    check(this->take(2) != nullptr, "there is room again");
  }
  void finish() {
    check(this->stack.used_for_test().peek() == 4, "two blocks of the second phase live");
    check(this->stack.usage().peak_bytes == 4, "the high-water mark is wrong");
  }
};

TEST(shared_stack_model, overflows_from_three_threads) {
  const outcome result = explore<overflowing<>>({});
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(shared_stack_model, blocks_that_go_back) {
  const outcome result = explore<giving_back<>>({});
  EXPECT_TRUE(result.passed) << result.report;
}

TEST(shared_stack_model, phases_that_are_rewound) {
  const outcome result = explore<phases<>>({});
  EXPECT_TRUE(result.passed) << result.report;
}

// What must be found out: the orders of memory one weaker, and steps that are not one.
enum class weakness { no_acquire, no_release, torn_exchange };

template <weakness what>
struct weak_memory {
  template <class T>
  struct atomic : modelled_atomic<T> {
    using modelled_atomic<T>::modelled_atomic;
    bool compare_exchange_weak(T& expected, T to, std::memory_order success,
                               std::memory_order failure) {
      if constexpr (what == weakness::torn_exchange) {
        if (const T now = this->load(failure); now != expected) {
          expected = now;
          return false;
        }
        this->store(to, success);
        return true;
      } else {
        const bool dropped = what == weakness::no_acquire ? success == std::memory_order_acquire
                                                          : success == std::memory_order_release;
        return modelled_atomic<T>::compare_exchange_weak(
            expected, to, dropped ? std::memory_order_relaxed : success, failure);
      }
    }
    bool compare_exchange_strong(T& expected, T to, std::memory_order success,
                                 std::memory_order failure) {
      return compare_exchange_weak(expected, to, success, failure);
    }
  };
  template <class T>
  using plain = modelled_plain<T>;
};

TEST(shared_stack_model, weaker_orders_are_found_out) {
  EXPECT_FALSE(explore<giving_back<weak_memory<weakness::no_acquire>>>({}).passed);
  EXPECT_FALSE(explore<giving_back<weak_memory<weakness::no_release>>>({}).passed);
  EXPECT_FALSE(explore<phases<weak_memory<weakness::no_acquire>>>({}).passed);
  EXPECT_FALSE(explore<phases<weak_memory<weakness::no_release>>>({}).passed);
  EXPECT_FALSE(explore<overflowing<weak_memory<weakness::torn_exchange>>>({}).passed);
}

} // namespace
