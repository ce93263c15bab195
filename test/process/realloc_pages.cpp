// realloc of blocks from 256 KiB to hundreds of MiB, of which only the ends are touched: pages that
// were never touched stay so, in place, by moving, back and forth; the bounds are small multiples
// of what glibc needs (measured: about 2 page faults for a resizing, and 2 MiB in all). The
// contents are those of a model, for random sequences of sizes, also where all memory is locked.
//
//   realloc_pages [locked]
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <algorithm>
#include <malloc.h>
#include <sys/mman.h>

namespace {

long page_faults() {
  rusage usage{};
  CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  return usage.ru_minflt;
}

char* resize(char* block, std::size_t size) {
  block = static_cast<char*>(realloc(block, size));
  CHECK(block != nullptr);
  CHECK_GE(malloc_usable_size(block), size);
  block[size - 1] = 1;
  return block;
}

// `in_the_way`: other blocks lie behind those that grow. `copied_pages`: how many may be touched
// once.
void back_and_forth(std::size_t low, std::size_t high, bool in_the_way, long copied_pages = 0) {
  constexpr int block_count = 4;
  constexpr int times = 10;
  char* blocks[block_count];
  long before = page_faults();
  std::size_t resident_before = resident_bytes();
  for (char*& block : blocks) {
    block = static_cast<char*>(malloc(low));
    CHECK(block != nullptr);
    block[0] = 1;
    block[low - 1] = 1;
    if (!in_the_way) {
      for (char*& each : blocks) {
        each = block;
      }
      break;
    }
  }
  for (int time = 0; time < times; ++time) {
    for (char*& block : blocks) {
      block = resize(block, high);
      block = resize(block, low);
      CHECK(block[0] == 1 && block[low - 1] == 1);
      if (!in_the_way) {
        break;
      }
    }
  }
  long faults = page_faults() - before;
  auto grown = static_cast<std::ptrdiff_t>(resident_bytes() - resident_before);
  for (char*& block : blocks) {
    free(block);
    if (!in_the_way) {
      break;
    }
  }
  int used = in_the_way ? block_count : 1;
  printf("%zu <-> %zu%s: %ld page faults, %td KiB\n", low, high, in_the_way ? ", 4 blocks" : "",
         faults, grown / 1024);
  // To copy a page that was never written is to read it at one place and to write it at another.
  CHECK_LE(faults, 120 + used * times * 4 + 2 * copied_pages);
  CHECK_LE(grown, static_cast<std::ptrdiff_t>(2 * mib) + copied_pages * 4096);
}

// The settings of the allocator adapt to what is freed, so each pair has a process of its own.
void untouched_pages_stay_untouched() {
  const struct {
    std::size_t low, high;
  } pairs[] = {{33552432, 33556432}, {20000000, 24000000},  {1040000, 1060000},
               {262144, 262145},     {300000, 500000000},   {500000, 3000000},
               {1000000, 40000000},  {33000000, 600000000}, {270000, 350000},
               {2000000, 2200000},   {31000000, 34000000},  {400000, 1500000}};
  for (const auto& [low, high] : pairs) {
    for (bool in_the_way : {false, true}) {
      child_result result = run_child([&, low = low, high = high] {
        // Everything lies behind what the parent committed; see the other test.
        char* volatile first = static_cast<char*>(malloc(3 * mib));
        back_and_forth(low, high, in_the_way);
        free(first);
      });
      if (!result.exited_with(0)) {
        describe("back and forth", result);
      }
      CHECK(result.exited_with(0));
    }
  }
}

// A block that begins in what the parent of a fork committed, and ends in what its child did, is
// two mappings to the kernel: it is copied, once.
void across_what_a_parent_committed() {
  free(hide(malloc(100)));
  child_result result = run_child([] {
    constexpr std::size_t low = 33552432;
    back_and_forth(low, low + 4000, false, low / 4096);
  });
  if (!result.exited_with(0)) {
    describe("across what a parent committed", result);
  }
  CHECK(result.exited_with(0));
}

// Shrinking gives back what is behind: at once or soon, not when the block is freed.
void shrinking_gives_back() {
  for (std::size_t size : {12 * mib, 100 * mib}) {
    auto* block = static_cast<char*>(malloc(size));
    std::memset(block, 1, size);
    std::size_t full = resident_bytes();
    block = static_cast<char*>(realloc(block, mib));
    CHECK(all_bytes_are(block, mib, 1));
    malloc_trim(0);
    CHECK_LE(resident_bytes(), full - size + 3 * mib);
    free(block);
  }
}

// A mark in every page, from which the block, the place and the time can be seen.
struct modelled {
  char* begin = nullptr;
  std::size_t size = 0;
  std::uint32_t stamp = 0;

  void write() const {
    for (std::size_t at = 0; at + 8 <= size; at += 4096) {
      std::uint64_t mark = std::uint64_t{stamp} << 32 | at;
      std::memcpy(begin + at, &mark, 8);
    }
  }
  void check(std::size_t kept) const {
    for (std::size_t at = 0; at + 8 <= std::min(size, kept); at += 4096) {
      std::uint64_t mark = 0;
      std::memcpy(&mark, begin + at, 8);
      CHECK_EQ(mark, std::uint64_t{stamp} << 32 | at);
    }
  }
};

void agrees_with_a_model(int steps, unsigned high_bits) {
  modelled blocks[24];
  random_source random{high_bits};
  for (int step = 0; step < steps; ++step) {
    modelled& chosen = blocks[random.below(std::size(blocks))];
    std::size_t size = random.size_between(14, high_bits);
    if (random.below(3) == 0 && chosen.size != 0) { // a little more or less
      size = chosen.size + random.below(200 * kib) - std::min(chosen.size - 1, 100 * kib);
    }
    if (random.below(6) == 0) {
      chosen.check(chosen.size);
      free(chosen.begin);
      chosen = {};
      continue;
    }
    auto* moved = static_cast<char*>(realloc(chosen.begin, size));
    CHECK(moved != nullptr);
    chosen.begin = moved;
    chosen.check(size);
    chosen.size = size;
    chosen.stamp = static_cast<std::uint32_t>(step);
    chosen.write();
    if (step % 64 == 0) {
      for (const modelled& each : blocks) {
        each.check(each.size);
      }
    }
  }
  for (const modelled& each : blocks) {
    each.check(each.size);
    free(each.begin);
  }
}

// The pages that move may be shared with another process.
void after_a_fork() {
  modelled blocks[] = {{static_cast<char*>(malloc(900 * kib)), 900 * kib, 7},
                       {static_cast<char*>(malloc(6 * mib)), 6 * mib, 8},
                       {static_cast<char*>(malloc(50 * mib)), 50 * mib, 9}};
  for (const modelled& each : blocks) {
    each.write();
  }
  child_result result = run_child([&] {
    for (modelled& each : blocks) {
      each.begin = static_cast<char*>(realloc(each.begin, 90 * mib));
      each.check(each.size);
      each.stamp += 100;
      each.write();
      free(each.begin);
    }
  });
  CHECK(result.exited_with(0));
  for (modelled& each : blocks) {
    each.check(each.size);
    each.begin = static_cast<char*>(realloc(each.begin, 90 * mib));
    each.check(each.size);
    free(each.begin);
  }
}

} // namespace

int main(int count, char**) {
  require_mete();
  if (count > 1) {
    set_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
    free(realloc(malloc(3 * mib), 40 * mib)); // the region exists before it is locked
    if (mlockall(MCL_CURRENT) != 0) {
      check_skip("mlockall is not permitted here (needs CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK)");
    }
    long long locked = read_figure("/proc/self/status", "\nVmLck:");
    agrees_with_a_model(400, 24);
    CHECK_GE(read_figure("/proc/self/status", "\nVmLck:"), locked); // nothing lost its lock
    return 0;
  }
  untouched_pages_stay_untouched();
  across_what_a_parent_committed();
  shrinking_gives_back();
  after_a_fork();
  agrees_with_a_model(2500, 22);
  agrees_with_a_model(400, 27);
}
