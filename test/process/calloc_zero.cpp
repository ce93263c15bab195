// calloc gives zeroes, above all on memory that was used before: each size is dirtied, freed and
// allocated again; then much memory is dirtied, given back (or not), and allocated again.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>

namespace {

constexpr std::size_t most_blocks = 40;

void check_size(std::size_t size) {
  std::size_t count = size < 64 * kib ? most_blocks : size < 4 * mib ? 4 : 2;
  void* blocks[most_blocks];
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = malloc(size);
      CHECK(blocks[i] != nullptr);
      std::memset(blocks[i], 0xa5, malloc_usable_size(blocks[i]));
    }
    for (std::size_t i = 0; i < count; ++i) {
      free(blocks[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = round == 0 ? calloc(1, size) : calloc(size, 1);
      CHECK(blocks[i] != nullptr && is_aligned(blocks[i], 16));
      CHECK(all_bytes_are(blocks[i], size, 0));
      std::memset(blocks[i], 0x5a, size);
    }
    for (std::size_t i = 0; i < count; ++i) {
      free(blocks[i]);
    }
  }
}

// Every other block stays live and dirty, so that the freed ones lie in slabs in use: the place
// where "these pages were purged, so they are zero" is easiest to get wrong.
void check_after_purge(std::size_t size, void (*give_back)()) {
  static void* blocks[40000];
  std::size_t count = 24 * mib / size < 40000 ? 24 * mib / size : 40000;
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(size);
    std::memset(blocks[i], 0xff, size);
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 8 != 0) {
      free(blocks[i]);
    }
  }
  give_back();
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 8 != 0) {
      blocks[i] = calloc(1, size);
      CHECK(all_bytes_are(blocks[i], size, 0));
      std::memset(blocks[i], 0xee, size);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(all_bytes_are(blocks[i], size, i % 8 != 0 ? 0xee : 0xff));
    free(blocks[i]);
  }
}

} // namespace

int main() {
  require_mete();
  for (std::size_t size = 1; size <= 5000; size += size < 600 ? 1 : 13) {
    check_size(size);
  }
  for (unsigned bits = 12; bits <= 24; ++bits) {
    std::size_t power = std::size_t{1} << bits;
    for (std::size_t size : size_list{power - 17, power, power + 1, power + power / 2}) {
      check_size(size);
    }
  }
  check_size(64 * mib);
  for (std::size_t size : size_list{48, 1000, 5000, 40000, 200000, 3000000}) {
    check_after_purge(size, [] {});
    check_after_purge(size, [] { malloc_trim(0); });
  }
  check_after_purge(1000, [] { sleep_ms(1200); });
}
