// Who gets which heap. Other tests of the same process leave abandoned heaps behind; the last
// abandoned comes first, so these tests know whose they get.
//
// SPDX-License-Identifier: MIT
#include "heap/registry.hpp"

#include "heap/heap_for_test.hpp"
#include "os/memory.hpp"
#include "page/region.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace mete::heap {
namespace {

class registry_test : public testing::Test {
protected:
  registry_test() { os::initialise_memory(); }

  static void* take_one(heap& from, unsigned class_index) {
    owner_guard inside(from.lock);
    void* block = nullptr;
    unsigned fresh = 0;
    EXPECT_EQ(from.take(class_index, &block, 1, fresh), 1u);
    return block;
  }
  // Leaves a slab with a free block behind.
  static void* take_one_of_two(heap& from, unsigned class_index) {
    void* const kept = take_one(from, class_index);
    put_back(from, take_one(from, class_index));
    return kept;
  }
  static void put_back(heap& to, void* block) {
    owner_guard inside(to.lock);
    to.put(block);
  }

  // Adopted from an earlier test, it may have kept an empty slab.
  static heap* acquire_without_slabs(thread_state* thread) {
    heap* const h = acquire_heap(thread);
    owner_guard inside(h->lock);
    settle(*h);
    return h;
  }

  static constexpr unsigned class_5000 = class_of(5000);
  thread_state states[4] = {};
};

TEST_F(registry_test, heaps_are_numbered_and_listed) {
  heap* const one = acquire_heap(&states[0]);
  heap* const two = acquire_heap(&states[1]);
  ASSERT_NE(one, two);
  EXPECT_NE(one->tag(), two->tag());
  for (heap* each : {one, two}) {
    EXPECT_EQ(each->tag() & (tag_class_end - 1), 0u) << "the low bits are the class's";
    const unsigned index = (each->tag() >> page::tag_owner_shift) - 1;
    ASSERT_LT(index, heap_count());
    EXPECT_EQ(heap_at(index), each);
  }
  EXPECT_EQ(one->thread, &states[0]);
  abandon_heap(*one);
  abandon_heap(*two);
  EXPECT_EQ(one->thread, nullptr);
}

TEST_F(registry_test, the_last_abandoned_heap_is_adopted_first) {
  heap* const one = acquire_heap(&states[0]);
  heap* const two = acquire_heap(&states[1]);
  const unsigned with_thread = heaps_with_thread();
  abandon_heap(*one);
  abandon_heap(*two);
  EXPECT_EQ(heaps_with_thread(), with_thread - 2);
  const unsigned count = heap_count();
  EXPECT_EQ(acquire_heap(&states[2]), two);
  EXPECT_EQ(two->thread, &states[2]);
  EXPECT_EQ(acquire_heap(&states[3]), one);
  EXPECT_EQ(heap_count(), count) << "no new one while there are abandoned ones";
  EXPECT_EQ(heaps_with_thread(), with_thread);
  abandon_heap(*one);
  abandon_heap(*two);
}

TEST_F(registry_test, a_destroyed_heap_serves_again) {
  heap* const shared = create_shared_heap();
  EXPECT_NE(shared->shared_lock, nullptr);
  const unsigned index = (shared->tag() >> page::tag_owner_shift) - 1;
  destroy_shared_heap(*shared);
  EXPECT_EQ(heap_at(index), nullptr);
  const unsigned count = heap_count();
  heap* const again = create_shared_heap();
  EXPECT_EQ(again, shared);
  EXPECT_EQ(heap_at(index), shared);
  EXPECT_EQ(heap_count(), count);
  destroy_shared_heap(*again);
}

// A decay round may hold on to a heap that is destroyed meanwhile: if it lived again as a thread's,
// the two would not exclude each other.
TEST_F(registry_test, no_thread_gets_a_destroyed_heap) {
  heap* const shared = create_shared_heap();
  EXPECT_EQ(shared_heap_of(shared->tag()), shared);
  destroy_shared_heap(*shared);
  EXPECT_EQ(shared_heap_of(shared->tag()), nullptr);
  std::vector<heap*> acquired;
  for (thread_state& each : states)
    acquired.push_back(acquire_heap(&each));
  for (heap* each : acquired) {
    EXPECT_NE(each, shared);
    EXPECT_EQ(each->shared_lock, nullptr);
    abandon_heap(*each);
  }
}

TEST_F(registry_test, a_partly_used_slab_of_an_abandoned_heap_is_taken_over) {
  heap* const taker = acquire_without_slabs(&states[0]);
  heap* const leaver = acquire_without_slabs(&states[1]);
  void* const left = take_one(*leaver, class_5000);
  put_back(*leaver, take_one(*leaver, class_5000)); // slabs with used blocks are what is taken over
  abandon_heap(*leaver);
  void* const taken = take_one(*taker, class_5000);
  EXPECT_EQ(&slab_of(taken), &slab_of(left)) << "rather than a slab of its own";
  EXPECT_EQ(slab_of(left).remote.owner.load(), &taker->pending);
  EXPECT_EQ(page::locate(left).tag->load(), taker->tag() | class_5000 << tag_class_shift);
  {
    owner_guard inside(taker->lock);
    taker->check_invariants();
  }
  put_back(*taker, taken);
  put_back(*taker, left);
  abandon_heap(*taker);
}

TEST_F(registry_test, a_slab_that_is_being_purged_is_not_taken_over) {
  heap* const taker = acquire_without_slabs(&states[0]);
  heap* const leaver = acquire_without_slabs(&states[1]);
  void* const left = take_one_of_two(*leaver, class_5000);
  abandon_heap(*leaver);
  leaver->purging.store(true);
  void* const taken = take_one(*taker, class_5000);
  EXPECT_NE(&slab_of(taken), &slab_of(left));
  EXPECT_EQ(slab_of(left).remote.owner.load(), &leaver->pending);
  leaver->purging.store(false);
  put_back(*taker, taken);
  ASSERT_EQ(acquire_heap(&states[1]), leaver);
  put_back(*leaver, left);
  abandon_heap(*leaver);
  abandon_heap(*taker);
}

TEST_F(registry_test, a_shared_heap_takes_nothing_over) {
  heap* const leaver = acquire_without_slabs(&states[1]);
  void* const left = take_one_of_two(*leaver, class_5000);
  abandon_heap(*leaver);
  heap* const shared = create_shared_heap();
  void* const taken = take_one(*shared, class_5000);
  EXPECT_NE(&slab_of(taken), &slab_of(left)) << "it would die with the shared heap";
  {
    lock_guard guard(*shared->shared_lock);
    shared->release_everything();
  }
  destroy_shared_heap(*shared);
  ASSERT_EQ(acquire_heap(&states[1]), leaver);
  put_back(*leaver, left);
  abandon_heap(*leaver);
}

TEST_F(registry_test, threads_never_share_a_heap) {
  std::atomic<unsigned> in_use[256] = {};
  const auto work = [&in_use] {
    thread_state state{};
    for (int round = 0; round < 3000; ++round) {
      heap* const h = acquire_heap(&state);
      ASSERT_NE(h, nullptr);
      const unsigned index = (h->tag() >> page::tag_owner_shift) - 1;
      ASSERT_LT(index, std::size(in_use));
      ASSERT_EQ(in_use[index].exchange(1), 0u);
      in_use[index].store(0);
      abandon_heap(*h);
    }
  };
  const unsigned before = heap_count();
  std::vector<std::thread> threads;
  for (int count = 0; count < 4; ++count)
    threads.emplace_back(work);
  for (std::thread& each : threads)
    each.join();
  EXPECT_LE(heap_count(), before + 4) << "as many as there were threads at once, not in all";
}

} // namespace
} // namespace mete::heap
