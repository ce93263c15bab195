// Out of memory: what is free elsewhere is found, whoever asks for it.
//
// SPDX-License-Identifier: MIT
#include "front/allocate.hpp"

#include "base/options.hpp"
#include "front/maintenance.hpp"
#include "front/statistics.hpp"
#include "mete/mete.h"
#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

namespace mete::front {
namespace {

#if defined(METE_FAULT_INJECTION)

// The system refuses everything, and all that is free are slabs of a thread that sleeps: their
// blocks were freed by this thread, but nobody has brought them home.
class out_of_memory_test : public testing::Test {
protected:
  out_of_memory_test() {
    background_before = options.background.exchange(0);
    home = mete_heap_create();
    mete_heap_free(home, mete_heap_malloc(home, wanted)); // a slab's metadata is there
    collect();
    large = allocate(1 * MiB);
    sleeper = std::thread([this] {
      for (int count = 0; count < 64; ++count)
        theirs.push_back(allocate(heap::max_slab_block_bytes));
      stage = 1;
      while (stage != 2)
        std::this_thread::yield();
    });
    while (stage != 1)
      std::this_thread::yield();
    options.fail_os_calls.store(1'000'000'000);
    options.fail_os_call.store(1);
    for (const std::size_t size : {1 * MiB, 64 * KiB, 36 * KiB, wanted})
      while (void* const block = allocate(size))
        taken.push_back(block);
    for (void* each : theirs)
      deallocate(each);
  }

  ~out_of_memory_test() override {
    options.fail_os_call.store(0);
    options.fail_os_calls.store(1);
    stage = 2;
    sleeper.join();
    for (void* each : taken)
      deallocate(each);
    deallocate(large);
    mete_heap_destroy(home);
    check_all_invariants();
    options.background.store(background_before);
  }

  static constexpr std::size_t wanted = 20 * KiB;
  long long background_before = 0;
  mete_heap* home = nullptr;
  void* large = nullptr;
  std::atomic<int> stage{0};
  std::thread sleeper;
  std::vector<void*> theirs;
  std::vector<void*> taken;
};

TEST_F(out_of_memory_test, malloc_finds_what_a_sleeping_thread_has) {
  taken.push_back(allocate(wanted));
  EXPECT_NE(taken.back(), nullptr);
}

TEST_F(out_of_memory_test, calloc_finds_what_a_sleeping_thread_has) {
  auto* const block = static_cast<char*>(allocate_zeroed(wanted));
  taken.push_back(block);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(block[0], 0);
  EXPECT_EQ(std::memcmp(block, block + 1, wanted - 1), 0);
}

TEST_F(out_of_memory_test, a_medium_block_finds_what_a_sleeping_thread_has) {
  taken.push_back(allocate(200 * KiB));
  EXPECT_NE(taken.back(), nullptr);
}

TEST_F(out_of_memory_test, an_explicit_heap_finds_what_a_sleeping_thread_has) {
  while (void* const block = mete_heap_malloc(home, wanted))
    taken.push_back(block);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_GE(taken.size(), 64 * heap::max_slab_block_bytes / wanted / 2);
}

TEST_F(out_of_memory_test, shrinking_succeeds_without_memory) {
  std::memset(large, 7, 1 * MiB);
  while (void* const more = allocate(wanted))
    taken.push_back(more);
  errno = EDOM;
  auto* const shrunk = static_cast<char*>(reallocate(large, wanted));
  ASSERT_NE(shrunk, nullptr);
  EXPECT_EQ(errno, EDOM);
  large = shrunk;
  EXPECT_EQ(shrunk[0], 7);
  EXPECT_EQ(std::memcmp(shrunk, shrunk + 1, wanted - 1), 0);
}

#else

TEST(out_of_memory_test, needs_fault_injection) {
  GTEST_SKIP() << "only builds with METE_FAULT_INJECTION can refuse memory";
}

#endif

} // namespace
} // namespace mete::front
