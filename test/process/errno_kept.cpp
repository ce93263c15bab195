// free keeps errno: for every size, for blocks of other threads, while memory goes back, and also
// when munmap fails because the process has as many mappings as it may have.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <thread>

namespace {

void check_free(void* block) {
  errno = 1234;
  free(block);
  CHECK_EQ(errno, 1234);
}

void every_size() {
  for (std::size_t size = 0; size <= 5000; size += 7) {
    check_free(malloc(size));
  }
  for (std::size_t size = 4096; size <= 128 * mib; size += size / 4) {
    void* block = malloc(size);
    CHECK(block != nullptr);
    std::memset(block, 1, size < mib ? size : mib);
    check_free(block);
    check_free(memalign(64 * kib, size));
  }
  check_free(nullptr);
  errno = 1234;
  ::operator delete(::operator new(100));
  ::operator delete[](::operator new[](3 * mib));
  CHECK_EQ(errno, 1234);
}

void many_at_once() {
  constexpr std::size_t count = 4000;
  static void* blocks[count];
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(30000 + i);
    std::memset(blocks[i], 1, 30000);
  }
  for (void* block : blocks) {
    check_free(block);
  }
}

void blocks_of_another_thread() {
  constexpr std::size_t count = 30000;
  static void* blocks[count];
  std::thread([] {
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = malloc(i % 3000);
    }
  }).join();
  for (void* block : blocks) {
    check_free(block);
  }
}

// The kernel refuses to unmap the middle of a mapping when that would make one mapping too many.
// The rest of the mappings is used up with single pages of alternating protection.
void free_when_munmap_fails() {
  constexpr std::size_t count = 16;
  void* blocks[count];
  for (void*& block : blocks) {
    block = malloc(5 * mib);
    CHECK(block != nullptr);
    std::memset(block, 7, mib);
  }
  std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  char limit[32];
  read_text("/proc/sys/vm/max_map_count", limit, sizeof limit);
  std::size_t most = std::strtoull(limit, nullptr, 10);
  if (most == 0 || most > 300000) {
    printf("not tried: free when munmap fails (vm.max_map_count is %zu)\n", most);
    return;
  }
  char* filler = static_cast<char*>(mmap(nullptr, 2 * most * page, PROT_NONE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  CHECK_NE(filler, MAP_FAILED);
  std::size_t split = 0;
  while (split < most && mprotect(filler + 2 * split * page, page, PROT_READ) == 0) {
    ++split;
  }
  CHECK_LT(split, most); // the limit has been reached
  for (std::size_t i = 1; i < count; i += 2) {
    check_free(blocks[i]);
  }
  for (std::size_t size : size_list{std::size_t{100}, 100 * kib, 6 * mib}) {
    errno = 0;
    void* block = malloc(size);
    CHECK(block != nullptr || errno == ENOMEM);
    check_free(block);
  }
  munmap(filler, 2 * most * page);
  for (std::size_t i = 0; i < count; i += 2) {
    CHECK(all_bytes_are(blocks[i], mib, 7));
    check_free(blocks[i]);
  }
  void* block = malloc(64 * mib);
  CHECK(block != nullptr);
  check_free(block);
}

} // namespace

int main() {
  require_mete();
  every_size();
  many_at_once();
  blocks_of_another_thread();
  free_when_munmap_fails();
}
