// malloc for every size from 0 to 5000 and around every power of two up to 64 MiB: aligned to 16,
// usable to the last byte of malloc_usable_size, no block damages its neighbours.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <malloc.h>

namespace {

constexpr int most_blocks = 8;

// Writes the whole block if it is small, else its first and last 64 KiB (time).
void fill(void* block, std::size_t size, unsigned char value) {
  if (size <= 4 * mib) {
    std::memset(block, value, size);
    return;
  }
  std::memset(block, value, 64 * kib);
  std::memset(static_cast<char*>(block) + size - 64 * kib, value, 64 * kib);
}

bool is_filled(const void* block, std::size_t size, unsigned char value) {
  if (size <= 4 * mib) {
    return all_bytes_are(block, size, value);
  }
  return all_bytes_are(block, 64 * kib, value) &&
         all_bytes_are(static_cast<const char*>(block) + size - 64 * kib, 64 * kib, value);
}

void check_size(std::size_t size) {
  void* blocks[most_blocks];
  std::size_t usable[most_blocks];
  int count = size < mib ? most_blocks : 2;
  for (int i = 0; i < count; ++i) {
    blocks[i] = malloc(size);
    CHECK(blocks[i] != nullptr);
    CHECK(is_aligned(blocks[i], 16));
    usable[i] = malloc_usable_size(blocks[i]);
    CHECK_GE(usable[i], size);
    fill(blocks[i], usable[i], static_cast<unsigned char>(i + 1));
  }
  for (int i = 0; i < count; ++i) {
    CHECK(is_filled(blocks[i], usable[i], static_cast<unsigned char>(i + 1)));
  }
  for (int i = 0; i < count; ++i) {
    free(blocks[i]);
  }
}

void zero_sized_blocks_are_distinct() {
  void* blocks[100];
  for (int i = 0; i < 100; ++i) {
    blocks[i] = malloc(0);
    CHECK(blocks[i] != nullptr);
    for (int j = 0; j < i; ++j) {
      CHECK_NE(blocks[i], blocks[j]);
    }
  }
  for (void* block : blocks) {
    free(block);
  }
}

void alignment_holds_for_many_live_blocks() {
  static void* blocks[20000];
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = malloc(i % 300);
    CHECK(blocks[i] != nullptr && is_aligned(blocks[i], 16));
  }
  for (void* block : blocks) {
    free(block);
  }
}

} // namespace

int main() {
  require_mete();
  zero_sized_blocks_are_distinct();
  alignment_holds_for_many_live_blocks();
  for (std::size_t size = 0; size <= 5000; ++size) {
    check_size(size);
  }
  for (unsigned bits = 13; bits <= 26; ++bits) {
    for (int delta : {-4097, -4096, -17, -16, -1, 0, 1, 15, 16, 17, 4095, 4096, 4097}) {
      check_size((std::size_t{1} << bits) + static_cast<std::size_t>(static_cast<long>(delta)));
    }
  }
  free(nullptr);
  CHECK_EQ(malloc_usable_size(nullptr), 0);
}
