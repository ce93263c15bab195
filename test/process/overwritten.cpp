// What a program writes past its blocks, before them, or into freed ones, changes what the program
// keeps there and nothing else: mete goes on, hands out every block once, and gives memory back.
// The writes stay between the first and the last block of the same size, so the program's own
// contents are all that they can hit.
//
// In the debug build, the static variant evaluates every invariant of the allocator afterwards.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#ifdef METE_DEBUG_CHECKS
#  include "front/statistics.hpp"
#endif

#include <algorithm>
#include <malloc.h>
#include <thread>
#include <utility>

namespace {

constexpr std::size_t longest_overflow = 64;
constexpr std::size_t most_blocks = 20000;
char* blocks[most_blocks];
std::size_t block_count = 0;

// More than one slab of each size, and as many medium blocks as make several runs.
void allocate_all(std::size_t size) {
  block_count = std::clamp<std::size_t>(600 * kib / size, 12, most_blocks);
  for (std::size_t i = 0; i < block_count; ++i) {
    blocks[i] = static_cast<char*>(malloc(size));
    CHECK(blocks[i] != nullptr);
  }
  std::sort(blocks, blocks + block_count);
}

// Whether all of `length` bytes from `begin` on belong to blocks that lie side by side.
bool are_ours(const char* begin, std::size_t length) {
  for (const char* at = begin; at < begin + length;) {
    char** const next = std::upper_bound(blocks, blocks + block_count, const_cast<char*>(at));
    if (next == blocks || at >= next[-1] + malloc_usable_size(next[-1]))
      return false;
    at = next[-1] + malloc_usable_size(next[-1]);
  }
  return true;
}

void free_every(std::size_t step, std::size_t first, bool elsewhere) {
  const auto work = [=] {
    for (std::size_t i = first; i < block_count; i += step)
      free(blocks[i]);
  };
  if (elsewhere)
    std::thread(work).join();
  else
    work();
}

struct write {
  char* begin;
  std::size_t length;
};
write writes[2 * most_blocks];

// Where to write is settled while all blocks live: afterwards nothing may ask about freed ones.
std::size_t plan_writes(std::size_t size, std::size_t room_of_freed) {
  std::size_t count = 0;
  const auto plan = [&](char* begin, std::size_t length) {
    if (are_ours(begin, length))
      writes[count++] = {begin, length};
  };
  for (std::size_t i = 0; i < block_count; ++i)
    switch (i % 4) {
    case 0:
      plan(blocks[i] + malloc_usable_size(blocks[i]), longest_overflow);
      break;
    case 1:
      plan(blocks[i] - longest_overflow, longest_overflow);
      break;
    case 2:
      plan(blocks[i], std::min(size, room_of_freed));
      break; // freed by then
    default:
      break;
    }
  return count;
}

void check_state() {
#if defined METE_DEBUG_CHECKS && defined METE_TEST_STATIC
  mete::front::check_all_invariants();
#endif
}

// Blocks of the size and others, each with its own contents: an overlap would be seen.
void work_on(std::size_t size) {
  constexpr std::size_t many = 3000;
  static unsigned char* live[many];
  static std::size_t bytes[many];
  random_source random{size};
  const std::size_t held = std::clamp<std::size_t>(16 * mib / size, 8, many);
  for (int i = 0; i < 30000; ++i) {
    const std::size_t at = random.below(held);
    const auto pattern = static_cast<unsigned char>(at % 251 + 1);
    if (live[at] != nullptr)
      CHECK(all_bytes_are(live[at], std::min(bytes[at], std::size_t{256}), pattern));
    free(live[at]);
    bytes[at] = i % 2 == 0 ? size : random.size_between(4, 12);
    live[at] = static_cast<unsigned char*>(malloc(bytes[at]));
    CHECK(live[at] != nullptr);
    std::memset(live[at], pattern, std::min(bytes[at], std::size_t{256}));
  }
  for (unsigned char*& each : live)
    free(std::exchange(each, nullptr));
}

void overwrite(std::size_t size, bool elsewhere) {
  allocate_all(size);
  // Pages of freed medium blocks can be given back, but stay the program's to write into.
  const std::size_t count = plan_writes(size, 4 * kib);
  CHECK_GT(count, 3);
  free_every(4, 2, elsewhere);
  for (std::size_t i = 0; i < count; ++i)
    std::memset(hide(writes[i].begin), 0xa5, writes[i].length);
  check_state();
  work_on(size); // on what was overwritten
  check_state();
  for (const std::size_t first : size_list{0, 1, 3})
    free_every(4, first, elsewhere);
  check_state();
  malloc_trim(0);
  check_state();
  work_on(size);
  malloc_trim(0);
  check_state();
}

} // namespace

int main() {
  if (!require_mete())
    check_skip("on other allocators these writes destroy the heap");
  for (const std::size_t size :
       {std::size_t{16}, std::size_t{48}, std::size_t{100}, std::size_t{500}, std::size_t{1000},
        std::size_t{3000}, std::size_t{5000}, std::size_t{20000}, 32 * kib, 100 * kib, mib})
    for (const bool elsewhere : {false, true}) {
      const child_result result = run_child([=] { overwrite(size, elsewhere); });
      if (!result.exited_with(0) || result.length != 0) {
        printf("%zu bytes, freed %s\n", size, elsewhere ? "by another thread" : "here");
        describe("overwritten", result);
        CHECK(false);
      }
    }
}
