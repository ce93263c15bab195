// mlockall: all memory, present and future, locked. Reserved address space must not be filled with
// pages, and giving memory back (which the kernel refuses for locked pages) must not break.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <thread>

int main() {
  require_mete();
  set_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    check_skip("mlockall is not permitted here (needs CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK)");
  }
  // A reservation filled with pages would be gigabytes, a thread's stack is 8 MiB.
  CHECK_LE(resident_bytes(), 200 * mib);
  for (int round = 0; round < 3; ++round) {
    static void* blocks[20000];
    random_source random{static_cast<std::uint64_t>(round)};
    for (void*& block : blocks) {
      std::size_t size = random.size_between(3, 13);
      block = calloc(1, size);
      CHECK(block != nullptr);
      CHECK(all_bytes_are(block, size, 0));
      std::memset(block, 0xcc, malloc_usable_size(block));
    }
    void* large = malloc(50 * mib);
    CHECK(large != nullptr);
    large = realloc(large, 80 * mib);
    CHECK(large != nullptr);
    free(large);
    std::thread([] { free(malloc(300 * kib)); }).join();
    for (void* block : blocks) {
      free(block);
    }
    malloc_trim(0); // madvise fails on locked pages: calloc must not take them for zero afterwards
    CHECK_LE(resident_bytes(), 600 * mib);
  }
}
