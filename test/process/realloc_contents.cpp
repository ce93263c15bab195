// realloc keeps the contents over every transition between sizes, in place or not; it behaves as
// malloc for NULL, frees for size 0, and leaves the block alone when it fails.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>

namespace {

// A pattern that depends on the position, so that shifted contents are seen; sparse for large
// blocks (time): one mark in 509 bytes still meets every page.
std::size_t step_of(std::size_t size) {
  return size <= 300 * kib ? 1 : 509;
}

void write_pattern(char* block, std::size_t size) {
  for (std::size_t i = 0; i < size; i += step_of(size)) {
    block[i] = static_cast<char>(i * 131 >> 3);
  }
}

void check_pattern(const char* block, std::size_t written, std::size_t kept) {
  for (std::size_t i = 0; i < kept; i += step_of(written)) {
    if (block[i] != static_cast<char>(i * 131 >> 3)) {
      CHECK_EQ(i, kept); // shows the position of the first wrong byte
    }
  }
}

char* resize(char* block, std::size_t size) {
  char* moved = static_cast<char*>(realloc(block, size));
  CHECK(moved != nullptr && is_aligned(moved, 16));
  CHECK_GE(malloc_usable_size(moved), size);
  return moved;
}

void check_transition(std::size_t from, std::size_t to) {
  char* block = static_cast<char*>(malloc(from));
  CHECK(block != nullptr);
  write_pattern(block, from);
  block = resize(block, to);
  check_pattern(block, from, from < to ? from : to);
  write_pattern(block, to);
  block = resize(block, from);
  check_pattern(block, to, from < to ? from : to);
  free(block);
}

void every_pair_of_sizes() {
  const std::size_t sizes[] = {1,       8,        16,      17,      24,      100,     128,
                               129,     1000,     1024,    1025,    4095,    4096,    5000,
                               8192,    16384,    32768,   40000,   65536,   65537,   100000,
                               262144,  1000000,  1048576, 2097152, 2097153, 3000000, 5000000,
                               8388608, 20000000, 34000000};
  for (std::size_t from : sizes) {
    for (std::size_t to : sizes) {
      check_transition(from, to);
    }
  }
}

void growth_step_by_step() {
  char* block = nullptr;
  for (std::size_t size = 1; size <= 9000; ++size) {
    block = resize(block, size);
    block[size - 1] = static_cast<char>((size - 1) * 131 >> 3);
  }
  check_pattern(block, 9000, 9000);
  free(block);
  block = nullptr;
  std::size_t written = 0;
  for (std::size_t size = 16; size <= 64 * mib; size += size / 2) {
    block = resize(block, size);
    check_pattern(block, written, written);
    write_pattern(block, size);
    written = size;
  }
  for (std::size_t size = written; size > 0; size = size * 2 / 3) {
    block = resize(block, size);
    check_pattern(block, written, size);
  }
  free(block);
}

// Neighbours make growth in place impossible or tempt it to run into them.
void growth_among_neighbours(std::size_t start) {
  constexpr std::size_t count = 64;
  char* blocks[count];
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = static_cast<char*>(malloc(start));
    std::memset(blocks[i], static_cast<int>(i + 1), start);
  }
  for (std::size_t i = 0; i < count; i += 2) {
    blocks[i] = resize(blocks[i], start * 2);
    std::memset(blocks[i], static_cast<int>(i + 1), start * 2);
  }
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(all_bytes_are(blocks[i], i % 2 == 0 ? start * 2 : start,
                        static_cast<unsigned char>(i + 1)));
    free(blocks[i]);
  }
}

void size_zero_frees() {
  std::size_t before = resident_bytes();
  for (int i = 0; i < 100000; ++i) {
    char* block = resize(nullptr, i % 100 == 0 ? 300 * kib : 4000);
    std::memset(block, 1, 4000);
    CHECK_EQ(realloc(block, hide(std::size_t{0})), nullptr);
    block = resize(nullptr, 100);
    CHECK_EQ(reallocarray(block, hide(std::size_t{0}), 8), nullptr);
  }
  CHECK_LT(resident_bytes(), before + 32 * mib); // a leak would be 390 MiB
  void* block = realloc(nullptr, hide(std::size_t{0}));
  CHECK(block != nullptr);
  free(block);
}

void aligned_blocks_keep_contents() {
  for (std::size_t alignment = 32; alignment <= 4 * mib; alignment *= 2) {
    for (std::size_t size : size_list{std::size_t{100}, 5000 * std::size_t{1}, 3 * mib}) {
      char* block = static_cast<char*>(memalign(alignment, size));
      CHECK(block != nullptr);
      write_pattern(block, size);
      block = resize(block, size * 3);
      check_pattern(block, size, size);
      block = resize(block, size / 2);
      check_pattern(block, size, size / 2);
      free(block);
    }
  }
}

} // namespace

int main() {
  require_mete();
  every_pair_of_sizes();
  growth_step_by_step();
  for (std::size_t start : size_list{16, 100, 1024, 5000, 40000, 70000, 300000}) {
    growth_among_neighbours(start);
  }
  size_zero_frees();
  aligned_blocks_keep_contents();
}
