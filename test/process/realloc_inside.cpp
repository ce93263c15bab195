// realloc of a pointer into a block, not to its beginning, ends by a report: at once, in every kind
// of block and every size class, wherever the pointer leads and whatever size is asked for.
// Otherwise it would copy what lies behind the block, or free what is none.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>

namespace {

int mistakes = 0;
int cases = 0;

void expect_report(char* block, std::size_t offset, std::size_t new_size) {
  child_result result = run_child([=] { free(realloc(hide(block + offset), new_size)); }, 20);
  ++cases;
  if (result.died_of(SIGABRT) && result.says("mete: ") && result.lines_with("") == 1) {
    return;
  }
  char name[128];
  snprintf(name, sizeof name, "realloc(block + %zu, %zu) of a block of %zu bytes", offset, new_size,
           malloc_usable_size(block));
  if (++mistakes <= 10) {
    describe(name, result);
  }
}

// Smaller, as large, and larger: kept in place, moved by copying, moved without.
void inside_a_block_of(std::size_t size) {
  char* block = static_cast<char*>(malloc(size));
  CHECK(block != nullptr);
  std::size_t usable = malloc_usable_size(block);
  for (std::size_t offset : {std::size_t{1}, std::size_t{8}, std::size_t{16}, usable / 32 * 16}) {
    if (offset != 0 && offset < usable) {
      for (std::size_t new_size : {usable / 2, usable, 2 * usable}) {
        expect_report(block, offset, new_size);
      }
    }
  }
  free(block);
}

} // namespace

int main() {
  require_mete();
  for (std::size_t size = 16; size <= 32 * kib; size = malloc_usable_size(malloc(size)) + 1) {
    inside_a_block_of(size);
  }
  for (std::size_t size : {40 * kib, 100 * kib, mib, 3 * mib, 40 * mib}) {
    inside_a_block_of(size);
  }
  printf("%d of %d cases are not reported\n", mistakes, cases);
  CHECK_GE(cases, 600);
  CHECK_EQ(mistakes, 0);
}
