// Every kind of block, by every function: what a thread may want of malloc while another one forks.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "check.hpp"

#include <cstring>
#include <malloc.h>

// Sizes of each kind (small, medium, large, a mapping of its own).
inline constexpr std::size_t every_kind_bytes[] = {
    1, 16, 100, 1000, 10'000, 32 * kib, 70 * kib, 900 * kib, 2 * mib + 1, 33 * mib};

inline void fill_ends(char* block, std::size_t size, char value) {
  block[0] = value;
  block[size / 2] = value;
  block[size - 1] = value;
}

inline void check_ends(const char* block, std::size_t size, char value) {
  CHECK_EQ(block[0], value);
  CHECK_EQ(block[size / 2], value);
  CHECK_EQ(block[size - 1], value);
}

// So many bytes, in medium blocks, written to and freed again.
inline void burst(std::size_t bytes) {
  static void* blocks[10000];
  const std::size_t number = bytes / (60 * kib);
  for (std::size_t i = 0; i < number; ++i) {
    blocks[i] = malloc(60 * kib);
    std::memset(blocks[i], 1, 60 * kib);
  }
  for (std::size_t i = 0; i < number; ++i) {
    free(blocks[i]);
  }
}

// Blocks that one thread allocates and another one frees or resizes.
struct every_kind {
  static constexpr std::size_t kinds = std::size(every_kind_bytes);
  static constexpr std::size_t many = 300; // more than a cache holds, so that slow paths are taken

  char* blocks[kinds] = {};
  void* small[many] = {};

  void allocate() {
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      const std::size_t size = every_kind_bytes[kind];
      blocks[kind] = static_cast<char*>(kind % 2 == 0 ? malloc(size) : calloc(1, size));
      CHECK(blocks[kind] != nullptr);
      CHECK_GE(malloc_usable_size(blocks[kind]), size);
      fill_ends(blocks[kind], size, static_cast<char>('a' + kind));
    }
    for (std::size_t index = 0; index < many; ++index) {
      small[index] = malloc(1 + index * 7 % 600);
      CHECK(small[index] != nullptr);
      static_cast<char*>(small[index])[0] = 's';
    }
  }

  // To another kind, or in place; contents stay.
  void resize() {
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      const std::size_t size = every_kind_bytes[kind];
      const std::size_t larger = size + size / 2 + 1;
      auto* const moved = static_cast<char*>(realloc(blocks[kind], larger));
      CHECK(moved != nullptr);
      CHECK_EQ(moved[0], static_cast<char>('a' + kind));
      CHECK_EQ(moved[size - 1], static_cast<char>('a' + kind));
      CHECK_GE(malloc_usable_size(moved), larger);
      blocks[kind] = static_cast<char*>(realloc(moved, size));
      CHECK(blocks[kind] != nullptr);
    }
  }

  void release() {
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      check_ends(blocks[kind], every_kind_bytes[kind], static_cast<char>('a' + kind));
      free(blocks[kind]);
    }
    for (void* block : small) {
      CHECK_EQ(*static_cast<char*>(block), 's');
      free(block);
    }
  }
};

inline void use_every_kind() {
  every_kind all;
  all.allocate();
  all.resize();
  for (std::size_t alignment = 16; alignment <= 256 * kib; alignment *= 4) {
    void* block = nullptr;
    CHECK_EQ(posix_memalign(&block, alignment, 3 * alignment), 0);
    CHECK(is_aligned(block, alignment));
    fill_ends(static_cast<char*>(block), 3 * alignment, 'x');
    free(block);
  }
  all.release();
}
