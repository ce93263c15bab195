// That heavy_barrier() really restarts the sequences of other threads. A sequence of the tests' own
// stays in its middle until it is restarted, or until it is told that it never will be.
//
// SPDX-License-Identifier: MIT
#include "os/rseq.hpp"

#include "os/barrier.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace mete::os {
namespace {

#if defined(__x86_64__)

// True if it was restarted. Writes 1 to `begun` in its middle.
bool wait_in_sequence(std::atomic<int>& begun, const std::atomic<int>& given_up) {
  std::uint32_t restarted;
  std::uintptr_t scratch;
  asm volatile("xorl %k[restarted], %k[restarted]\n\t"
               ".pushsection .data.rel.ro.test_sequence, \"aw\", @progbits\n\t"
               ".balign 32\n"
               "70:\n\t"
               ".long 0, 0\n\t"
               ".quad 71f, 72f - 71f, 73f\n\t"
               ".popsection\n\t"
               "leaq 70b(%%rip), %[scratch]\n\t"
               "movq %[scratch], %%fs:%c[sequence](%[area])\n"
               "71:\n\t"
               "movl $1, (%[begun])\n"
               "74:\n\t"
               "pause\n\t"
               "cmpl $0, (%[given_up])\n\t"
               "je 74b\n"
               "72:\n\t"
               "jmp 75f\n\t"
               ".byte 0x0f, 0xb9, 0x3d\n\t"
               ".long 0x53053053\n"
               "73:\n\t"
               "movl $1, %k[restarted]\n"
               "75:\n"
               : [restarted] "=&r"(restarted), [scratch] "=&r"(scratch)
               : [area] "r"(rseq_offset), [sequence] "i"(rseq_sequence), [begun] "r"(&begun),
                 [given_up] "r"(&given_up)
               : "memory", "cc");
  return restarted != 0;
}

TEST(rseq_test, a_heavy_barrier_restarts_the_sequences_of_others) {
  initialise_barriers();
  if (!enable_sequences([](restarts_end) {}))
    GTEST_SKIP() << "no restartable sequences here";
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> begun{0}, given_up{0};
    bool restarted = false;
    std::thread other([&] { restarted = wait_in_sequence(begun, given_up); });
    while (begun.load() == 0)
      std::this_thread::yield();
    heavy_barrier();
    given_up.store(1); // comes too late for a sequence that was restarted
    other.join();
    EXPECT_TRUE(restarted) << "in round " << round;
  }
}

#endif

TEST(rseq_test, whether_there_are_sequences_does_not_change) {
  const bool first = enable_sequences([](restarts_end) {});
  EXPECT_EQ(enable_sequences([](restarts_end) {}), first);
}

} // namespace
} // namespace mete::os
