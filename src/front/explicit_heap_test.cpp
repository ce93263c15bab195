// Explicit heaps by their public interface: everything in one dies with it, and nothing else does.
//
// SPDX-License-Identifier: MIT
#include "front/explicit_heap.hpp"

#include "base/options.hpp"
#include "block_pattern.hpp"
#include "front/allocate.hpp"
#include "front/maintenance.hpp"
#include "front/statistics.hpp"
#include "heap/registry.hpp"
#include "mete/mete.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

namespace mete::front {
namespace {

// One of each kind: in slabs, medium, large, with a mapping of its own.
constexpr std::size_t sizes[] = {1, 24, 1000, 32 * KiB, 33 * KiB, 1 * MiB, 3 * MiB, 40 * MiB};

// Those, and their neighbours: what realloc() can do in place, by moving pages, or by copying.
constexpr std::size_t resized_sizes[] = {1,         100,     3000,     32 * KiB, 50 * KiB,
                                         900 * KiB, 3 * MiB, 20 * MiB, 40 * MiB, 100 * MiB};

class explicit_heap_test : public testing::Test {
protected:
  explicit_heap_test() {
    options_background = options.background.exchange(0);
    live_before = live_bytes();
  }
  ~explicit_heap_test() override {
    EXPECT_EQ(live_bytes(), live_before) << "nothing is left";
    check_all_invariants();
    options.background.store(options_background);
  }

  static std::size_t live_bytes() {
    mete_collect();
    return take_statistics().live_bytes();
  }

  test::block filled(void* address, std::size_t size) {
    const test::block block{static_cast<unsigned char*>(address), size, ++serial};
    test::pattern(block).fill(block.address, size);
    return block;
  }
  static bool intact(const test::block& block) {
    return test::pattern(block).first_difference(block.address, block.size) == block.size;
  }

  // The same for blocks that are too large to be filled: a piece at either end.
  static constexpr std::size_t piece = 4096;
  test::block ends_filled(void* address, std::size_t size) {
    const test::block block{static_cast<unsigned char*>(address), size, ++serial};
    test::pattern(block).fill(block.address, std::min(size, piece));
    if (size > piece)
      test::pattern(block).fill(block.address + size - piece, piece);
    return block;
  }
  static bool kept_its_beginning(const test::block& before, unsigned char* now, std::size_t size) {
    const std::size_t kept = std::min({before.size, size, piece});
    return test::pattern(before).first_difference(now, kept) == kept;
  }

  std::size_t live_before = 0;
  long long options_background = 0;
  std::uint64_t serial = 0;
};

TEST_F(explicit_heap_test, everything_in_it_dies_with_it) {
  mete_heap* const home = mete_heap_create();
  ASSERT_NE(home, nullptr);
  std::vector<test::block> blocks;
  for (int round = 0; round < 20; ++round)
    for (const std::size_t size : sizes)
      if (size < 40 * MiB || round == 0) {
        void* const address = mete_heap_malloc(home, size);
        ASSERT_NE(address, nullptr);
        ASSERT_GE(mete_malloc_usable_size(address), size);
        blocks.push_back(filled(address, size));
      }
  EXPECT_TRUE(std::all_of(blocks.begin(), blocks.end(), intact));
  EXPECT_GE(live_bytes(), live_before + 20 * 4 * MiB + 40 * MiB);
  mete_heap_destroy(home);
}

TEST_F(explicit_heap_test, nothing_else_dies_with_it) {
  mete_heap* const doomed = mete_heap_create();
  mete_heap* const kept = mete_heap_create();
  std::vector<test::block> others;
  for (int round = 0; round < 50; ++round)
    for (const std::size_t size : {std::size_t{24}, std::size_t{1000}, 40 * KiB}) {
      mete_heap_malloc(doomed, size);
      others.push_back(filled(mete_heap_malloc(kept, size), size));
      others.push_back(filled(allocate(size), size));
    }
  mete_heap_destroy(doomed);
  EXPECT_TRUE(std::all_of(others.begin(), others.end(), intact));
  for (const test::block& each : others)
    deallocate(each.address);
  mete_heap_destroy(kept);
}

TEST_F(explicit_heap_test, blocks_can_be_freed_one_by_one_either_way) {
  mete_heap* const home = mete_heap_create();
  const std::size_t empty = live_bytes();
  for (const std::size_t size : sizes) {
    deallocate(mete_heap_malloc(home, size));
    mete_heap_free(home, mete_heap_malloc(home, size));
  }
  mete_heap_free(home, nullptr);
  EXPECT_EQ(live_bytes(), empty);
  mete_heap_destroy(home);
  mete_heap_destroy(nullptr);
}

TEST_F(explicit_heap_test, calloc_gives_zeroes_where_there_was_something_else) {
  mete_heap* const home = mete_heap_create();
  for (int round = 0; round < 3; ++round)
    for (const std::size_t size : sizes) {
      auto* const block = static_cast<char*>(mete_heap_calloc(home, 1, size));
      ASSERT_NE(block, nullptr);
      ASSERT_TRUE(std::all_of(block, block + size, [](char byte) { return byte == 0; })) << size;
      std::fill_n(block, size, '\1');
      mete_heap_free(home, block);
    }
  errno = 0;
  EXPECT_EQ(mete_heap_calloc(home, SIZE_MAX / 2, 3), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  mete_heap_destroy(home);
}

TEST_F(explicit_heap_test, alignment_is_kept_and_checked) {
  mete_heap* const home = mete_heap_create();
  for (std::size_t alignment = 1; alignment <= 4 * MiB; alignment *= 2)
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, 100 * KiB}) {
      void* const block = mete_heap_aligned_alloc(home, alignment, size);
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % std::max<std::size_t>(alignment, 16), 0u);
      ASSERT_GE(mete_malloc_usable_size(block), size);
    }
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{3}, std::size_t{48}}) {
    errno = 0;
    EXPECT_EQ(mete_heap_aligned_alloc(home, alignment, 100), nullptr);
    EXPECT_EQ(errno, EINVAL);
  }
  mete_heap_destroy(home);
}

TEST_F(explicit_heap_test, sizes_that_cannot_be_are_refused) {
  mete_heap* const home = mete_heap_create();
  void* const block = mete_heap_malloc(home, 100);
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 2 - 100}) {
    errno = 0;
    EXPECT_EQ(mete_heap_malloc(home, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_EQ(mete_heap_realloc(home, block, size), nullptr);
  }
  EXPECT_GE(mete_malloc_usable_size(block), 100u) << "still there";
  mete_heap_destroy(home);
}

TEST_F(explicit_heap_test, realloc_keeps_contents_and_stays_in_the_heap) {
  mete_heap* const home = mete_heap_create();
  std::minstd_rand random(1);
  auto* block = static_cast<unsigned char*>(mete_heap_realloc(home, nullptr, 10));
  std::size_t size = 10;
  std::fill_n(block, size, static_cast<unsigned char>(1));
  for (int round = 2; round < 200; ++round) {
    const std::size_t wanted = 1 + random() % (round % 10 == 0 ? 3 * MiB : 70 * KiB);
    block = static_cast<unsigned char*>(mete_heap_realloc(home, block, wanted));
    ASSERT_NE(block, nullptr);
    ASSERT_TRUE(std::all_of(block, block + std::min(size, wanted),
                            [=](unsigned char byte) { return byte == round - 1; }));
    std::fill_n(block, wanted, static_cast<unsigned char>(round));
    size = wanted;
  }
  mete_heap_destroy(home); // and with it the block, wherever it moved
}

// Whatever kind a block is of and becomes, plain realloc() and mete_heap_realloc() leave it in its
// heap. The fixture sees that nothing is left after the heap, and that nothing else is missing.
TEST_F(explicit_heap_test, a_resized_block_of_any_kind_dies_with_its_heap) {
  for (const std::size_t alignment : {std::size_t{16}, std::size_t{4096}, 1 * MiB})
    for (const std::size_t from : resized_sizes)
      for (const std::size_t to : resized_sizes)
        for (const bool plain : {false, true}) {
          mete_heap* const home = mete_heap_create();
          void* const address = mete_heap_aligned_alloc(home, alignment, from);
          ASSERT_NE(address, nullptr);
          const test::block before = ends_filled(address, from);
          auto* const resized = static_cast<unsigned char*>(
              plain ? reallocate(address, to) : mete_heap_realloc(home, address, to));
          ASSERT_NE(resized, nullptr);
          ASSERT_TRUE(kept_its_beginning(before, resized, to)) << from << " to " << to;
          ends_filled(resized, to);
          mete_heap_destroy(home);
          ASSERT_EQ(live_bytes(), live_before) << from << " to " << to << (plain ? ", plain" : "");
        }
}

TEST_F(explicit_heap_test, a_resized_block_can_be_freed_and_resized_again) {
  mete_heap* const home = mete_heap_create();
  const std::size_t empty = live_bytes();
  for (const std::size_t from : resized_sizes)
    for (const std::size_t to : resized_sizes) {
      void* block = mete_heap_malloc(home, from);
      for (const std::size_t size : {to, from, to}) {
        block = reallocate(block, size);
        ASSERT_NE(block, nullptr);
        ASSERT_GE(mete_malloc_usable_size(block), size);
        ends_filled(block, size);
      }
      deallocate(block);
    }
  EXPECT_EQ(live_bytes(), empty);
  mete_heap_destroy(home);
}

TEST_F(explicit_heap_test, it_can_be_destroyed_when_others_have_freed_its_blocks) {
  for (int round = 0; round < 20; ++round) {
    mete_heap* const home = mete_heap_create();
    std::vector<void*> blocks;
    for (int count = 0; count < 50; ++count)
      blocks.push_back(mete_heap_malloc(home, 100));
    std::atomic<int> stage{0};
    std::thread sleeper([&] {
      for (void* each : blocks)
        deallocate(each);
      stage = 1;
      while (stage != 2)
        std::this_thread::yield();
      deallocate(allocate(100)); // nothing that it keeps may be of the heap that is gone
    });
    while (stage != 1)
      std::this_thread::yield();
    mete_heap_destroy(home);
    stage = 2;
    sleeper.join();
  }
}

// Its heap's slabs are in no other heap's hands, so nobody else has to be waited for.
TEST_F(explicit_heap_test, none_of_its_functions_waits_for_maintenance) {
  std::atomic<bool> finished{false};
  std::thread user;
  {
    lock_guard guard(maintenance_lock); // as if a decay round were purging
    user = std::thread([&] {
      mete_heap* const home = mete_heap_create();
      deallocate(mete_heap_malloc(home, 100));
      mete_heap_malloc(home, 100 * KiB);
      mete_heap_destroy(home);
      finished = true;
    });
    for (int count = 0; count < 10'000 && !finished; ++count)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(finished) << "it waited for ten seconds";
  }
  user.join();
}

// Whoever frees a block of it is the last to touch it, and it is home then: a second free is seen
// at once, and the first malloc after it can have the block.
TEST_F(explicit_heap_test, a_block_that_another_thread_frees_is_home_at_once) {
  mete_heap* const home = mete_heap_create();
  void* const block = mete_heap_malloc(home, 5000);
  std::thread([=] { deallocate(block); }).join();
  EXPECT_EQ(mete_heap_malloc(home, 5000), block);
  mete_heap_destroy(home);
}

#if defined(METE_FAULT_INJECTION)
TEST_F(explicit_heap_test, destroying_it_does_not_wait_for_the_purging_of_its_pages) {
  using std::chrono::steady_clock;
  mete_heap* const home = mete_heap_create();
  std::vector<void*> blocks;
  for (int count = 0; count < 1000; ++count)
    blocks.push_back(mete_heap_malloc(home, 1000));
  const auto tag = page::locate(blocks[0]).tag->load();
  heap::heap& slabs = *heap::shared_heap_of(tag);
  for (std::size_t at = 0; at < blocks.size(); ++at)
    if (at % 50 != 0)
      deallocate(blocks[at]);
  options.slow_purge_us.store(1'000'000);
  std::thread collector([] { mete_collect(); });
  while (!slabs.purging.load())
    std::this_thread::yield();
  const auto begin = steady_clock::now();
  mete_heap_destroy(home);
  mete_heap* const next = mete_heap_create(); // it must not be the one that is being purged
  void* const block = mete_heap_malloc(next, 1000);
  EXPECT_LT(steady_clock::now() - begin, std::chrono::milliseconds(500));
  EXPECT_TRUE(slabs.purging.load()) << "else nothing was shown";
  EXPECT_NE(page::locate(block).tag->load(), tag);
  options.slow_purge_us.store(0);
  collector.join();
  EXPECT_FALSE(slabs.doomed);
  EXPECT_EQ(heap::shared_heap_of(tag), nullptr) << "whoever purged has seen to it";
  EXPECT_EQ(slabs.footprint_bytes, 0u);
  mete_heap_destroy(next);
}
#endif

TEST_F(explicit_heap_test, its_blocks_never_stay_in_a_thread_cache) {
  void* const own = allocate(100); // so that the thread has a cache for this size
  mete_heap* const home = mete_heap_create();
  std::vector<void*> blocks;
  for (int count = 0; count < 50; ++count)
    blocks.push_back(mete_heap_malloc(home, 100));
  for (void* each : blocks)
    deallocate(each);
  std::vector<void*> taken;
  for (int count = 0; count < 200; ++count)
    taken.push_back(allocate(100));
  std::sort(blocks.begin(), blocks.end());
  for (void* each : taken) {
    EXPECT_FALSE(std::binary_search(blocks.begin(), blocks.end(), each));
    deallocate(each);
  }
  mete_heap_destroy(home);
  deallocate(own);
}

TEST_F(explicit_heap_test, many_threads_use_one_heap) {
  mete_heap* const home = mete_heap_create();
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed)
    threads.emplace_back([home, seed] {
      std::minstd_rand random(seed);
      std::vector<test::block> live;
      for (int step = 0; step < 4000; ++step) {
        if (live.size() < 100 && random() % 2 == 0) {
          const std::size_t size = 1 + random() % (random() % 20 == 0 ? 100 * KiB : 2000);
          const test::block block{static_cast<unsigned char*>(mete_heap_malloc(home, size)), size,
                                  seed};
          ASSERT_NE(block.address, nullptr);
          test::pattern(block).fill(block.address, size);
          live.push_back(block);
        } else if (!live.empty()) {
          std::swap(live[random() % live.size()], live.back());
          ASSERT_TRUE(intact(live.back()));
          mete_heap_free(home, live.back().address);
          live.pop_back();
        }
      }
    });
  for (std::thread& each : threads)
    each.join();
  mete_heap_destroy(home);
}

TEST_F(explicit_heap_test, heaps_that_come_and_go_do_not_grow_anything) {
  const auto use_one = [] {
    mete_heap* const home = mete_heap_create();
    mete_heap_malloc(home, 100);
    mete_heap_malloc(home, 100 * KiB);
    mete_heap_destroy(home);
  };
  use_one();
  const unsigned heaps = heap::heap_count();
  const std::size_t metadata = take_statistics().metadata_bytes;
  for (int round = 0; round < 500; ++round)
    use_one();
  EXPECT_EQ(heap::heap_count(), heaps);
  EXPECT_LE(take_statistics().metadata_bytes, metadata + 256 * KiB);
}

} // namespace
} // namespace mete::front
