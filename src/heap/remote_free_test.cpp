// The pieces of the remote-free protocol one by one, and the whole under real threads. Every
// interleaving of small programs: remote_free_model_test.cpp.
//
// SPDX-License-Identifier: MIT
#include "heap/remote_free.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

namespace mete::heap {
namespace {

// ---- pieces, one thread -------------------------------------------------------------------------

TEST(RemoteFree, DeliverTellsWhichBlocksWereFreedTwice) {
  std::array<std::atomic<std::uint64_t>, 2> words{};
  EXPECT_EQ(deliver(words.data(), 1, 0b0110), 0U);
  EXPECT_EQ(deliver(words.data(), 1, 0b1100), 0b0100U);
  EXPECT_EQ(words[0].load(), 0U);
  EXPECT_EQ(words[1].load(), 0b1110U);
}

TEST(RemoteFree, PublishTellsWhoPushed) {
  remote_state<> slab;
  pending_list<> list;
  slab.owner = &list;
  EXPECT_EQ(publish(slab, 2), &list);
  EXPECT_EQ(publish(slab, 3), nullptr);
  EXPECT_FALSE(list.empty());
  EXPECT_EQ(list.take_all(), &slab);
  EXPECT_EQ(slab.count.load(), 5U);
  EXPECT_EQ(list.take_all(), nullptr);
}

TEST(RemoteFree, CollectEarlyLeavesADebt) {
  remote_state<> slab;
  pending_list<> list;
  slab.owner = &list;
  std::array<std::atomic<std::uint64_t>, 1> words{};
  const auto ignore = [](std::size_t, std::uint64_t) {};
  ASSERT_EQ(deliver(words.data(), 0, 0b11), 0U);
  EXPECT_EQ(collect_early(slab, words.data(), 1, ignore), 2U);
  EXPECT_FALSE(is_settled(slab));
  publish(slab, 2);
  EXPECT_FALSE(is_settled(slab));
  drain(list, [&](remote_state<>& pending) {
    const collected result = collect(pending, words.data(), 1, ignore);
    EXPECT_EQ(result.counts, 2U);
    EXPECT_EQ(result.blocks, 0U);
  });
  EXPECT_TRUE(is_settled(slab));
}

// ---- real threads: for ThreadSanitizer, and for weak memory
// --------------------------------------

// Freers free the blocks of some slabs, which the owner hands out again through a mailbox per
// block: contents written by one user are read by the next, without any order but the protocol's.
struct crowd {
  static constexpr std::size_t slab_count = 3;
  static constexpr std::size_t word_count = 2;
  static constexpr std::size_t blocks = word_count * 64;
  struct slab : remote_state<> {
    std::array<std::atomic<std::uint64_t>, word_count> words{};
    std::array<std::uint64_t, blocks> contents{};
    std::array<std::atomic<std::uint64_t>, word_count> handed_out{};
  };
  std::array<slab, slab_count> slabs;
  std::array<pending_list<>, 2> lists; // ownership moves between them
  std::uint64_t came_home = 0;

  // Takes handed-out blocks of all slabs and frees them, until `wanted` are freed.
  void run_freer(std::uint64_t mask, std::uint64_t wanted) {
    std::uint64_t freed = 0;
    for (std::size_t turn = 0; freed < wanted; ++turn) {
      slab& each = slabs[turn % slab_count];
      const std::size_t word = turn / slab_count % word_count;
      const std::uint64_t bits =
          each.handed_out[word].fetch_and(~mask, std::memory_order_acquire) & mask;
      if (bits == 0) {
        std::this_thread::yield();
        continue;
      }
      for (std::uint64_t rest = bits; rest != 0; rest &= rest - 1) {
        ++each.contents[word * 64 + static_cast<std::size_t>(std::countr_zero(rest))];
      }
      ASSERT_EQ(deliver(each.words.data(), word, bits), 0U);
      const auto count = static_cast<std::uint32_t>(std::popcount(bits));
      publish(each, count);
      freed += count;
    }
  }

  void drain_once(std::size_t which) {
    drain(lists[which], [this, which](remote_state<>& pending) {
      slab& each = static_cast<slab&>(pending);
      collect(each, each.words.data(), word_count, [&](std::size_t word, std::uint64_t bits) {
        came_home += static_cast<std::uint64_t>(std::popcount(bits));
        for (std::uint64_t rest = bits; rest != 0; rest &= rest - 1) {
          ++each.contents[word * 64 + static_cast<std::size_t>(std::countr_zero(rest))];
        }
        each.handed_out[word].fetch_or(bits, std::memory_order_release);
      });
      if (came_home % 8 == 0) {
        change_owner(each, lists[1 - which]);
      }
    });
  }
};

TEST(RemoteFree, CrowdOfRealThreads) {
  constexpr std::uint64_t per_freer = 400'000;
  const auto world = std::make_unique<crowd>();
  for (crowd::slab& each : world->slabs) {
    each.owner = &world->lists[0];
    for (auto& word : each.handed_out) {
      word = ~std::uint64_t{0};
    }
  }
  const std::array<std::uint64_t, 3> masks{0x1111111111111111U, 0x2222222222222222U,
                                           0xccccccccccccccccU};
  std::vector<std::thread> freers;
  for (const std::uint64_t mask : masks) {
    freers.emplace_back([&world, mask] { world->run_freer(mask, per_freer); });
  }
  while (world->came_home < masks.size() * per_freer) {
    world->drain_once(0);
    world->drain_once(1);
    std::this_thread::yield();
  }
  for (std::thread& each : freers) {
    each.join();
  }
  world->drain_once(0);
  world->drain_once(1);
  world->drain_once(0);
  std::uint64_t uses = 0;
  for (const crowd::slab& each : world->slabs) {
    EXPECT_TRUE(is_settled(each));
    EXPECT_EQ(each.count.load(), 0U);
    for (const std::uint64_t content : each.contents) {
      uses += content;
    }
  }
  EXPECT_EQ(uses, 2 * world->came_home);
  EXPECT_TRUE(world->lists[0].empty() && world->lists[1].empty());
}

} // namespace
} // namespace mete::heap
