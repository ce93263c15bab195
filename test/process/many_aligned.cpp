// Tens of thousands of blocks that are aligned to more than a unit: all of them succeed, although a
// process may have only 65,530 mappings, because they need none; and everything works afterwards.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <algorithm>
#include <malloc.h>

namespace {

constexpr std::size_t most = 70000;
unsigned char* blocks[most];

std::size_t lines_of_maps() {
  FILE* file = fopen("/proc/self/maps", "r");
  CHECK(file != nullptr);
  std::size_t lines = 0;
  for (int c = 0; (c = fgetc(file)) != EOF;) {
    lines += c == '\n';
  }
  fclose(file);
  return lines;
}

void test(std::size_t alignment, std::size_t page_size, std::size_t count) {
  std::size_t lines_before = lines_of_maps();
  const auto size_of = [=](std::size_t index) { return page_size * (1 + index % 7); };
  for (std::size_t index = 0; index < count; ++index) {
    blocks[index] = static_cast<unsigned char*>(aligned_alloc(alignment, size_of(index)));
    CHECK(blocks[index] != nullptr && is_aligned(blocks[index], alignment));
    CHECK_GE(malloc_usable_size(blocks[index]), size_of(index));
    blocks[index][0] = static_cast<unsigned char>(index);
  }
  printf("%zu blocks aligned to %zu KiB: lines of /proc/self/maps before %zu, now %zu\n", count,
         alignment / kib, lines_before, lines_of_maps());
  CHECK_LE(lines_of_maps(), lines_before + 60); // a few for each region that had to be added
  void* large = malloc(100 * mib);
  void* small = malloc(100);
  CHECK(large != nullptr && small != nullptr);
  free(large);
  free(small);
  static unsigned char* sorted[most];
  std::copy(blocks, blocks + count, sorted);
  std::sort(sorted, sorted + count);
  CHECK(std::adjacent_find(sorted, sorted + count) == sorted + count);
  for (std::size_t index = 0; index < count; ++index) {
    CHECK_EQ(blocks[index][0], static_cast<unsigned char>(index));
    free(blocks[index]);
  }
}

} // namespace

int main() {
  require_mete();
  test(128 * kib, 4 * kib, most);
  test(128 * kib, 20 * kib, 20000);
  test(256 * kib, 64 * kib, 20000);
  test(2 * mib, 4 * kib, 20000);
}
