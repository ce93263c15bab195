// Whatever is written past the end of a block, or before the beginning of one in a region, meets a
// fault before it meets what the allocator knows: it goes on working afterwards, and knows every
// other block.
//
// Each case runs in a child: blocks of one kind are made until there are several regions (where the
// settings make regions small), and from one of them a child writes on and on until it faults.
// Other blocks lose their contents by that; nothing else may be lost.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <algorithm>
#include <csetjmp>
#include <malloc.h>
#include <thread>

namespace {

struct kind {
  const char* name;
  std::size_t bytes;
  std::size_t count;
  std::size_t grown_from; // not 0: a block that realloc has moved into a mapping
};
constexpr kind kinds[] = {{"small", 4096, 3000, 0},
                          {"medium", 200 * kib, 60, 0},
                          {"large", 2 * mib, 8, 0},
                          {"mapping", 40 * mib, 3, 0},
                          {"grown mapping", 360 * kib, 4, 270 * kib}};
constexpr std::size_t most_blocks = 3000;

unsigned char* blocks[most_blocks];
std::size_t block_count = 0;

sigjmp_buf after_fault;
extern "C" void on_fault(int) {
  siglongjmp(after_fault, 1);
}

void make_blocks(const kind& made) {
  for (block_count = 0; block_count < made.count; ++block_count) {
    void* block = malloc(made.grown_from != 0 ? made.grown_from : made.bytes);
    if (made.grown_from != 0) {
      CHECK(malloc(made.grown_from) != nullptr); // in the way, so that the block has to move
      block = realloc(block, made.bytes);
    }
    CHECK(block != nullptr);
    blocks[block_count] = static_cast<unsigned char*>(block);
    std::memset(block, 0x77, 16);
  }
  std::sort(blocks, blocks + block_count);
}

// Everything that needs tables: those of every block, and fresh ones.
void use_everything() {
  for (std::size_t index = 0; index < block_count; ++index) {
    CHECK_GT(malloc_usable_size(blocks[index]), 0u);
    free(blocks[index]);
  }
  static void* fresh[2000];
  random_source random{1};
  for (int round = 0; round < 2; ++round) {
    for (void*& each : fresh) {
      std::size_t size = random.size_between(3, &each - fresh < 20 ? 22 : 15);
      each = malloc(size); // calloc relies on memory that was never handed out being zero
      CHECK(each != nullptr);
      std::memset(each, 1, size);
    }
    for (void*& each : fresh) {
      each = realloc(each, malloc_usable_size(each) * 2);
      CHECK(each != nullptr);
      free(each);
    }
    std::thread([] { free(malloc(100)); }).join();
  }
  malloc_trim(0);
}

[[noreturn, gnu::noinline]] void write_for_ever(volatile unsigned char* at, std::ptrdiff_t step) {
  for (;; at += step) {
    *at = 0xff;
  }
}

// Writes from `first` on in steps of `step` until it faults.
void write_until_fault(unsigned char* first, std::ptrdiff_t step) {
  struct sigaction action {};
  action.sa_handler = on_fault;
  CHECK_EQ(sigaction(SIGSEGV, &action, nullptr), 0);
  if (sigsetjmp(after_fault, 1) == 0) {
    write_for_ever(first, step);
  }
  signal(SIGSEGV, SIG_DFL);
}

void overflow(std::size_t index, bool upwards) {
  child_result result = run_child([=] {
    unsigned char* block = blocks[index];
    // Downwards the first byte before the block, where other blocks may lie, too.
    upwards ? write_until_fault(block + malloc_usable_size(block), 1)
            : write_until_fault(block - 1, -1);
    use_everything();
  });
  if (!result.exited_with(0)) {
    char name[100];
    snprintf(name, sizeof name, "block %zu of %zu, %s", index, block_count,
             upwards ? "up" : "down");
    describe(name, result);
  }
  CHECK(result.exited_with(0));
}

// Those at whose end, or before whose beginning, no other block lies.
bool is_last(std::size_t index) {
  return index + 1 == block_count ||
         blocks[index] + malloc_usable_size(blocks[index]) != blocks[index + 1];
}
bool is_first(std::size_t index) {
  return index == 0 || blocks[index - 1] + malloc_usable_size(blocks[index - 1]) != blocks[index];
}

void test_kind(const kind& tested) {
  make_blocks(tested);
  int tries = 0;
  for (std::size_t index = 0; index < block_count && tries < 60; ++index) {
    if (is_last(index)) {
      overflow(index, true);
      ++tries;
    }
    // Below a mapping may lie what is not the allocator's, such as the data of a library.
    if (is_first(index) && tested.bytes < mib * 32 && tested.grown_from == 0) {
      overflow(index, false);
      ++tries;
    }
  }
  printf("%s: %d overflows\n", tested.name, tries);
  CHECK_GT(tries, 0);
}

} // namespace

int main() {
  require_mete();
  for (const kind& each : kinds) {
    child_result result = run_child([&] { test_kind(each); }, 150);
    if (!result.exited_with(0)) {
      describe(each.name, result);
    }
    CHECK(result.exited_with(0));
  }
}
