// A burst of 300 MiB, of which a random 10 MiB stay live, then silence: no call comes that could
// give memory back in passing, yet resident memory falls to at most 1.6 times what is live: within
// a second on a machine that has nothing else to do.
//
// Sizes are from 16 B to 64 KiB, each as likely as any other, so that most bytes are in blocks
// larger than a page: what a live block keeps resident is its pages, and with smaller blocks no
// allocator could reach the bound. That floor is computed and printed. The program itself, before
// the burst, is not counted.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <algorithm>

namespace {

constexpr std::size_t burst = 300 * mib;
constexpr std::size_t kept = 10 * mib;

struct live_block {
  char* address;
  std::size_t size;
};

live_block blocks[20000];
std::size_t count = 0;

void allocate_burst(random_source& random) {
  for (std::size_t total = 0; total < burst; ++count) {
    CHECK_LT(count, std::size(blocks));
    std::size_t size = 16 + random.below(64 * kib - 15);
    blocks[count] = {static_cast<char*>(malloc(size)), size};
    CHECK(blocks[count].address != nullptr);
    std::memset(blocks[count].address, 1, size);
    total += size;
  }
}

// Shuffles, then frees from the end until `kept` bytes are left.
std::size_t free_most(random_source& random) {
  std::size_t live = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(blocks[i], blocks[i + random.below(count - i)]);
    live += blocks[i].size;
  }
  while (live > kept) {
    --count;
    live -= blocks[count].size;
    free(blocks[count].address);
  }
  return live;
}

std::size_t pages_of_live_blocks() {
  std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::sort(blocks, blocks + count,
            [](const live_block& a, const live_block& b) { return a.address < b.address; });
  std::size_t pages = 0;
  std::uintptr_t next_page = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uintptr_t first = reinterpret_cast<std::uintptr_t>(blocks[i].address) / page;
    std::uintptr_t last =
        (reinterpret_cast<std::uintptr_t>(blocks[i].address) + blocks[i].size - 1) / page;
    first = std::max(first, next_page);
    pages += last >= first ? last - first + 1 : 0;
    next_page = std::max(next_page, last + 1);
  }
  return pages * page;
}

} // namespace

int main() {
  require_mete();
  std::size_t before = resident_bytes();
  random_source random{1234};
  allocate_burst(random);
  std::size_t peak = resident_bytes() - before;
  std::size_t live = free_most(random);
  std::size_t at_once = resident_bytes() - before;
  const shrunk then = await_resident(before + live * 16 / 10);
  std::size_t after = then.resident - before;
  std::size_t floor = pages_of_live_blocks();
  printf("resident without the program (%zu KiB): peak %zu KiB, at once %zu KiB, after %.1f s %zu "
         "KiB; "
         "live %zu KiB in pages of %zu KiB; ratio %.2f\n",
         before / kib, peak / kib, at_once / kib, then.seconds, after / kib, live / kib,
         floor / kib, static_cast<double>(after) / static_cast<double>(live));
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(all_bytes_are(blocks[i].address, blocks[i].size, 1)); // no live page was given away
  }
  CHECK_LE(after * 10, live * 16);
}
