// The kernel refuses every further mapping: the process has as many as it may (vm.max_map_count),
// or all the address space that it may (RLIMIT_AS). What needs no mapping goes on all the same:
// blocks of every kind from the region, which grows, and what the allocator itself needs for them.
//
//   mappings_exhausted count | space
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

#include <algorithm>
#include <malloc.h>
#include <sys/mman.h>

namespace {

native mete;

struct live_block {
  unsigned char* begin;
  std::size_t size;
};
live_block blocks[40000];
std::size_t block_count = 0;

void keep(void* begin, std::size_t size) {
  CHECK(begin != nullptr);
  CHECK_GE(malloc_usable_size(begin), size);
  // Of large ones the ends: pages cost time.
  auto* bytes = static_cast<unsigned char*>(begin);
  std::size_t piece = std::min(size, 4 * kib);
  std::memset(bytes, static_cast<int>(block_count % 251), piece);
  std::memset(bytes + size - piece, static_cast<int>(block_count % 251), piece);
  blocks[block_count++] = {bytes, size};
}

void check_all() {
  for (std::size_t index = 0; index < block_count; ++index) {
    const auto& [begin, size] = blocks[index];
    std::size_t piece = std::min(size, 4 * kib);
    CHECK(all_bytes_are(begin, piece, static_cast<unsigned char>(index % 251)));
    CHECK(all_bytes_are(begin + size - piece, piece, static_cast<unsigned char>(index % 251)));
  }
}

// Single pages of two kinds in turn, so that none is joined with its neighbour.
void use_up_the_count() {
  long limit = 0;
  char text[64];
  read_text("/proc/sys/vm/max_map_count", text, sizeof text);
  limit = std::strtol(text, nullptr, 10);
  if (limit <= 0 || limit > 300000) {
    check_skip("vm.max_map_count is unknown or too large to be reached in a test");
  }
  void* last = nullptr;
  for (long made = 0; last != MAP_FAILED; ++made) {
    CHECK_LT(made, 2 * limit);
    last = mmap(nullptr, 4096, made % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0);
  }
  CHECK_EQ(errno, ENOMEM);
}

void expect_refused_mappings() {
  void* more = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK_EQ(more, MAP_FAILED);
}

void every_kind_of_block() {
  random_source random{7};
  for (int round = 0; round < 24000; ++round) { // 50 MiB, with descriptors of several chunks
    std::size_t size = random.size_between(3, 13);
    keep(malloc(size), size);
  }
  for (int round = 0; round < 300; ++round) {
    std::size_t size = random.size_between(15, 20);
    keep(round % 2 == 0 ? malloc(size) : calloc(1, size), size);
  }
  for (int round = 0; round < 10; ++round) {
    keep(malloc(5 * mib), 5 * mib);
  }
  keep(malloc(100 * mib), 100 * mib); // else a mapping
  for (std::size_t alignment = 64; alignment <= 4 * mib; alignment *= 2) {
    for (std::size_t size : size_list{100, 5000, 70000, 3 * mib}) {
      void* block = aligned_alloc(alignment, size);
      CHECK(is_aligned(block, alignment));
      keep(block, size);
    }
  }
  mete_heap* heap = mete.heap_create();
  CHECK(heap != nullptr);
  for (std::size_t size : size_list{10, 1000, 100 * kib, 2 * mib, 40 * mib}) {
    CHECK(mete.heap_malloc(heap, size) != nullptr);
  }
  mete.heap_destroy(heap);
}

void resize_blocks() {
  for (std::size_t from : size_list{300 * kib, 900 * kib, 3 * mib, 40 * mib}) {
    for (std::size_t to : size_list{100, 300 * kib, 2 * mib, 20 * mib, 60 * mib}) {
      void* block = malloc(from);
      CHECK(block != nullptr);
      std::memset(block, 9, from < to ? from : to);
      block = realloc(block, to);
      CHECK(block != nullptr);
      CHECK(all_bytes_are(block, from < to ? from : to, 9));
      free(block);
    }
  }
}

} // namespace

int main(int count, char** arguments) {
  require_mete();
  mete = find_native();
  CHECK_EQ(count, 2);
  void* before = malloc(48 * mib); // has a mapping
  void* resized = malloc(48 * mib);
  std::memset(before, 5, 48 * mib);
  if (std::strcmp(arguments[1], "count") == 0) {
    use_up_the_count();
  } else {
    set_limit(RLIMIT_AS, virtual_bytes());
  }
  expect_refused_mappings();
  every_kind_of_block();
  resize_blocks();
  CHECK(all_bytes_are(before, 48 * mib, 5));
  resized = realloc(resized, 36 * mib);
  CHECK(resized != nullptr);
  free(resized);
  free(before);
  check_all();
  for (std::size_t index = 0; index < block_count; ++index) {
    free(blocks[index].begin);
  }
  block_count = 0;
  malloc_trim(0);
  every_kind_of_block();
  check_all();
}
