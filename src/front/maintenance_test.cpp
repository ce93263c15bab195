// Giving memory back: by request, with time, above a limit, in the background, from other threads'
// heaps. The options are the process's own, so each test puts them back.
//
// SPDX-License-Identifier: MIT
#include "front/maintenance.hpp"

#include "block_pattern.hpp"
#include "front/allocate.hpp"
#include "front/statistics.hpp"
#include "heap/registry.hpp"
#include "os/memory.hpp"
#include "page/region.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace mete::front {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class maintenance_test : public testing::Test {
protected:
  maintenance_test() {
    for (std::size_t index = 0; index < option_count; ++index)
      options_before.push_back(option(option_value(index)));
    options.background.store(0);
    options.decay_ms.store(3'600'000);
    collect();
  }
  ~maintenance_test() override {
    collect();
    check_all_invariants();
    for (std::size_t index = 0; index < option_count; ++index)
      option_value(index).store(options_before[index]);
  }

  static std::vector<void*> allocate_many(std::size_t count, std::size_t size) {
    std::vector<void*> blocks;
    for (std::size_t at = 0; at < count; ++at) {
      blocks.push_back(allocate(size));
      std::memset(blocks.back(), 1, size);
    }
    return blocks;
  }
  static void free_all(const std::vector<void*>& blocks) {
    for (void* each : blocks)
      deallocate(each);
  }
  // What another thread does is waited for; the limit is for a hang.
  template <class Condition>
  static bool comes_true(Condition condition) {
    const auto end = steady_clock::now() + std::chrono::minutes(1);
    while (!condition()) {
      if (steady_clock::now() > end)
        return false;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return true;
  }

  std::vector<long long> options_before;
};

TEST_F(maintenance_test, collect_purges_what_is_free_and_tells_how_much) {
  for (const std::size_t size : {std::size_t{200}, 3 * KiB, 100 * KiB, 3 * MiB}) {
    const std::size_t count = 12 * MiB / size;
    free_all(allocate_many(count, size));
    EXPECT_GE(collect(), 10 * MiB) << "blocks of " << size;
    EXPECT_EQ(page::dirty_bytes(), 0u);
    EXPECT_EQ(collect(), 0u) << "nothing is left for a second one";
  }
}

TEST_F(maintenance_test, collect_purges_inside_sparse_slabs_and_spares_the_living) {
  std::vector<test::block> kept;
  std::vector<void*> freed;
  for (std::size_t at = 0; at < 12'000; ++at) {
    auto* const address = static_cast<unsigned char*>(allocate(1000));
    const test::block block{address, 1000, at};
    test::pattern(block).fill(address, 1000);
    if (at % 40 == 0)
      kept.push_back(block);
    else
      freed.push_back(address);
  }
  free_all(freed);
  const std::size_t purged = collect();
  if (os::page_bytes == 4 * KiB) {
    EXPECT_GE(purged, 8 * MiB);
    EXPECT_GE(take_statistics().slab_purged_bytes, 8 * MiB);
  }
  for (const test::block& each : kept)
    ASSERT_EQ(test::pattern(each).first_difference(each.address, each.size), each.size);
  const std::vector<void*> again = allocate_many(11'000, 1000); // in the purged pages
  for (const test::block& each : kept)
    ASSERT_EQ(test::pattern(each).first_difference(each.address, each.size), each.size);
  free_all(again);
  for (const test::block& each : kept)
    deallocate(each.address);
}

TEST_F(maintenance_test, more_than_the_limit_is_given_back_at_once) {
  options.dirty_limit.store(static_cast<long long>(2 * MiB));
  const std::vector<void*> blocks = allocate_many(16, 1 * MiB);
  std::size_t most = 0;
  for (void* each : blocks) {
    deallocate(each);
    EXPECT_LE(page::dirty_bytes(), 2 * MiB);
    most = std::max(most, page::dirty_bytes());
  }
  // Not in the end: neighbours are one run by then and go together, and who has one depends on
  // where the tests before have left room.
  EXPECT_GE(most, 1 * MiB) << "what is below the limit stays for reuse";
}

TEST_F(maintenance_test, what_is_freed_at_the_peak_stays_for_reuse) {
  free_all(allocate_many(163, 100 * KiB));
  EXPECT_GE(page::dirty_bytes(), 14 * MiB);
}

TEST_F(maintenance_test, decay_of_zero_gives_back_at_once) {
  options.decay_ms.store(0);
  free_all(allocate_many(16, 1 * MiB));
  EXPECT_EQ(page::dirty_bytes(), 0u);
}

TEST_F(maintenance_test, without_its_thread_memory_decays_by_the_way) {
  options.background_threshold.store(0);
  options.decay_ms.store(3'600'000);
  free_all(allocate_many(16, 1 * MiB));
  EXPECT_GE(page::dirty_bytes(), 15 * MiB) << "not before its time";
  options.decay_ms.store(40);
  EXPECT_TRUE(comes_true([] {
    after_big_free(page::dirty_bytes());
    return page::dirty_bytes() == 0;
  }));
}

TEST_F(maintenance_test, the_sums_over_all_heaps_agree_with_the_heaps) {
  const auto difference = [] {
    collect();
    std::ptrdiff_t live = 0;
    lock_guard guard(maintenance_lock);
    heap::for_each_heap([&](heap::heap& h) {
      with_heap(h, [&] {
        h.report_totals();
        live += static_cast<std::ptrdiff_t>(h.usage().block_bytes);
      });
    });
    return heap::totals.live_bytes.load() - live;
  };
  const std::ptrdiff_t before = difference(); // other tests have heaps that vanish
  std::vector<void*> blocks = allocate_many(5000, 700);
  EXPECT_EQ(difference(), before);
  std::thread([&] {
    free_all({blocks.begin(), blocks.begin() + 3000}); // they go home by the outbox
    const std::vector<void*> own = allocate_many(1000, 300);
    blocks.insert(blocks.end(), own.begin(), own.end());
  }).join();
  EXPECT_EQ(difference(), before);
  free_all({blocks.begin() + 3000, blocks.end()});
  EXPECT_EQ(difference(), before);
}

TEST_F(maintenance_test, young_memory_stays) {
  options.background_threshold.store(0);
  options.decay_ms.store(3'600'000); // so that it stays young on a busy machine, too
  free_all(allocate_many(16, 1 * MiB));
  for (int round = 0; round < 20; ++round) {
    deallocate(allocate(100 * KiB));
    std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_GE(page::dirty_bytes(), 15 * MiB);
}

TEST_F(maintenance_test, the_background_thread_gives_back_while_the_program_sleeps) {
  options.background.store(2); // 1 would ask for a second thread
  options.background_threshold.store(static_cast<long long>(1 * MiB));
  options.decay_ms.store(40);
  std::vector<void*> small = allocate_many(10'000, 1000);
  const std::vector<void*> medium = allocate_many(16, 1 * MiB);
  free_all(small);
  free_all(medium);
  EXPECT_TRUE(comes_true([] { return page::dirty_bytes() == 0; }));
}

TEST_F(maintenance_test, collect_reaches_the_heaps_of_sleeping_threads) {
  std::atomic<int> stage{0};
  std::thread sleeper([&] {
    free_all(allocate_many(12'000, 1000));
    stage = 1;
    while (stage != 2)
      std::this_thread::sleep_for(milliseconds(1));
  });
  EXPECT_TRUE(comes_true([&] { return stage == 1; }));
  EXPECT_GE(collect(), 10 * MiB);
  stage = 2;
  sleeper.join();
}

TEST_F(maintenance_test, nothing_is_stranded_in_the_outbox_of_a_sleeping_thread) {
  const std::size_t before = take_statistics().small_bytes;
  const std::vector<void*> blocks = allocate_many(30, 3000);
  std::atomic<int> stage{0};
  std::thread sleeper([&] {
    free_all(blocks);
    stage = 1;
    while (stage != 2)
      std::this_thread::sleep_for(milliseconds(1));
  });
  EXPECT_TRUE(comes_true([&] { return stage == 1; }));
  collect();
  EXPECT_EQ(take_statistics().small_bytes, before);
  stage = 2;
  sleeper.join();
}

TEST_F(maintenance_test, a_heap_is_held_by_one_at_a_time) {
  std::atomic<bool> stop{false};
  std::atomic<heap::heap*> theirs{nullptr};
  std::thread busy([&] {
    while (!stop) {
      free_all(allocate_many(200, 500));
      theirs = heap::this_thread.owned;
    }
  });
  EXPECT_TRUE(comes_true([&] { return theirs != nullptr; }));
  for (int round = 0; round < 200; ++round) {
    lock_guard guard(maintenance_lock);
    with_heap(*theirs, [&] { theirs.load()->check_invariants(); });
  }
  stop = true;
  busy.join();
}

#if defined(METE_FAULT_INJECTION)
TEST_F(maintenance_test, no_malloc_or_free_calls_the_os_more_than_a_few_times) {
  std::vector<void*> kept = allocate_many(40'000, 500);
  const std::vector<void*> large = allocate_many(60, 1 * MiB);
  std::size_t most = 0;
  const auto counted = [&](auto call) {
    const std::size_t before = os::counted_calls();
    call();
    most = std::max(most, os::counted_calls() - before);
  };
  for (std::size_t at = 0; at < kept.size(); ++at)
    if (at % 20 != 0)
      counted([&] { deallocate(kept[at]); });
  for (std::size_t at = 0; at < large.size(); at += 2) // holes that nothing fits into
    counted([&] { deallocate(large[at]); });
  std::vector<void*> more;
  const std::size_t purged_before = take_statistics().slab_purged_bytes;
  for (int count = 0; count < 40'000; ++count)
    counted([&] { more.push_back(allocate(1000)); });
  EXPECT_GE(take_statistics().slab_purged_bytes, purged_before + 2 * MiB) << "growth gives back";
  for (int count = 0; count < 30; ++count)
    counted([&] { more.push_back(allocate(2 * MiB)); });
  // A commit takes seven, pieces of purging four and up to eight for each 256 KiB of budget.
  EXPECT_GE(most, 4u);
  EXPECT_LE(most, 40u);
  for (std::size_t at = 0; at < kept.size(); at += 20)
    deallocate(kept[at]);
  for (std::size_t at = 1; at < large.size(); at += 2)
    deallocate(large[at]);
  free_all(more);
}
#endif

TEST_F(maintenance_test, relief_is_not_tried_where_it_cannot_help) {
  if (page::regions_in_use().regions == 1) {
    EXPECT_FALSE(relieve(SIZE_MAX / 2));
  }
  free_all(allocate_many(8, 1 * MiB));
  EXPECT_TRUE(relieve(1 * MiB));
  EXPECT_EQ(page::dirty_bytes(), 0u);
}

// Last, because after these the heap grows to its largest footprint no more.
//
TEST_F(maintenance_test, when_most_is_freed_it_goes_back_at_once) {
  std::this_thread::sleep_for(milliseconds(1100)); // other tests had falls, too
  options.decay_ms.store(300);
  free_all(allocate_many(60, 1 * MiB));
  EXPECT_LE(page::dirty_bytes(), 1 * MiB);
  std::vector<void*> blocks = allocate_many(60'000, 1000);
  std::shuffle(blocks.begin(), blocks.end(), std::minstd_rand{1});
  const auto kept = blocks.begin() + 1000;
  free_all({kept, blocks.end()});
  const statistics now = take_statistics();
  // What was purged in a slab counts as dirty when the slab has become empty.
  EXPECT_LE(page::dirty_bytes(), 10 * MiB);
  if (os::page_bytes == 4 * KiB) {
    EXPECT_LE(now.slab_bytes - now.slab_purged_bytes, 10 * MiB) << "1000 pages cannot go";
  }
  free_all({blocks.begin(), kept});
}

TEST_F(maintenance_test, what_falls_again_and_again_stays) {
  options.decay_ms.store(1000);
  options.dirty_limit.store(0);
  std::size_t stayed = 0;
  // Nothing is written into the blocks: 40 rounds are over long before giving back is due again,
  // on a busy machine, too.
  for (int round = 0; round < 40; ++round) {
    std::vector<void*> blocks;
    for (int count = 0; count < 60; ++count)
      blocks.push_back(allocate(1 * MiB));
    for (void* const block : blocks)
      deallocate(block);
    stayed += page::dirty_bytes() >= 50 * MiB;
  }
  EXPECT_GE(stayed, 10u);
}

TEST_F(maintenance_test, what_is_wanted_to_stay_long_stays) {
  options.decay_ms.store(1001);
  free_all(allocate_many(60, 1 * MiB));
  EXPECT_GE(page::dirty_bytes(), 50 * MiB);
}

} // namespace
} // namespace mete::front
