// Explicit heaps: everything that is in one dies with it and its memory goes back; its blocks can
// also be freed one by one with free(); realloc keeps contents and stays in the heap.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

#include <malloc.h>
#include <thread>

namespace {

native mete;

void every_function() {
  mete_heap* heap = mete.heap_create();
  CHECK(heap != nullptr);
  for (std::size_t size = 0; size < 8 * mib; size += 1 + size / 3) {
    void* block = mete.heap_malloc(heap, size);
    CHECK(block != nullptr && is_aligned(block, 16));
    CHECK_GE(mete.usable_size(block), size);
    CHECK_EQ(mete.usable_size(block), malloc_usable_size(block));
    std::memset(block, 0xab, size);
    size % 2 == 0 ? mete.heap_free(heap, block) : free(block);
    void* zero = mete.heap_calloc(heap, 1, size);
    CHECK(zero != nullptr && all_bytes_are(zero, size, 0));
    zero = mete.heap_realloc(heap, zero, size * 2 + 1);
    CHECK(zero != nullptr && all_bytes_are(zero, size, 0));
    for (std::size_t alignment = 16; alignment <= 2 * mib; alignment *= 16) {
      CHECK(is_aligned(mete.heap_aligned_alloc(heap, alignment, size), alignment));
    }
  }
  mete.heap_free(heap, nullptr);
  mete.heap_destroy(heap);
  mete.heap_destroy(nullptr);
}

void errors() {
  mete_heap* heap = mete.heap_create();
  std::size_t too_much = hide(SIZE_MAX / 2 + 1);
  errno = 0;
  CHECK_EQ(mete.heap_malloc(heap, too_much), nullptr);
  CHECK_EQ(errno, ENOMEM);
  errno = 0;
  CHECK_EQ(mete.heap_calloc(heap, too_much, 4), nullptr);
  CHECK_EQ(errno, ENOMEM);
  errno = 0;
  CHECK_EQ(mete.heap_aligned_alloc(heap, 48, 100), nullptr);
  CHECK_EQ(errno, EINVAL);
  void* block = mete.heap_malloc(heap, 100);
  std::memset(block, 0x11, 100);
  errno = 0;
  CHECK_EQ(mete.heap_realloc(heap, block, too_much), nullptr);
  CHECK_EQ(errno, ENOMEM);
  CHECK(all_bytes_are(block, 100, 0x11));
  void* none = mete.heap_realloc(heap, nullptr, 50);
  CHECK(none != nullptr);
  mete.heap_destroy(heap);
}

// Were blocks lost with their heap, 60 heaps of 20 MiB would be 1.2 GiB.
void destroy_gives_everything_back() {
  std::size_t before = 0;
  for (int round = 0; round < 60; ++round) {
    mete_heap* heap = mete.heap_create();
    random_source random{static_cast<std::uint64_t>(round)};
    for (std::size_t total = 0; total < 20 * mib;) {
      std::size_t size =
          random.below(50) == 0 ? random.size_between(14, 22) : random.size_between(4, 14);
      void* block = mete.heap_malloc(heap, size);
      CHECK(block != nullptr);
      std::memset(block, 1, size);
      total += size;
    }
    mete.heap_destroy(heap);
    if (round == 5) {
      mete.collect();
      before = resident_bytes();
    }
  }
  mete.collect();
  printf("resident after 5 heaps %zu KiB, after 60 %zu KiB\n", before / kib,
         resident_bytes() / kib);
  CHECK_LE(resident_bytes(), before + 4 * mib);
}

// realloc moved the block, but within its heap: destroying the other heap does not touch it.
void realloc_stays_in_its_heap() {
  mete_heap* doomed = mete.heap_create();
  mete_heap* kept = mete.heap_create();
  void* blocks[200];
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = mete.heap_malloc(i % 2 == 0 ? kept : doomed, 10);
    std::memset(blocks[i], static_cast<int>(i), 10);
  }
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = mete.heap_realloc(i % 2 == 0 ? kept : doomed, blocks[i], 50 * i + 20);
    CHECK(all_bytes_are(blocks[i], 10, static_cast<unsigned char>(i)));
    std::memset(blocks[i], static_cast<int>(i), 50 * i + 20);
    if (i % 10 == 0) { // plain realloc of a heap's block keeps the heap, too
      blocks[i] = realloc(blocks[i], 100 * i + 200);
    }
  }
  mete.heap_destroy(doomed);
  for (int i = 0; i < 20000; ++i) {
    void* block = malloc(static_cast<std::size_t>(i) % 5000);
    std::memset(block, 0xff, static_cast<std::size_t>(i) % 5000);
    if (i % 2 == 0) {
      free(block);
    }
  }
  for (std::size_t i = 0; i < std::size(blocks); i += 2) {
    CHECK(all_bytes_are(blocks[i], i % 10 == 0 ? 10 : 50 * i + 20, static_cast<unsigned char>(i)));
    i % 4 == 0 ? free(blocks[i]) : mete.heap_free(kept, blocks[i]);
  }
  mete.heap_destroy(kept);
}

// A block that realloc() moves to another place or kind dies with its heap all the same, and what
// lies at its former place since then does not.
void resized_blocks_die_with_their_heap() {
  const size_list sizes{100, 20 * kib, 200 * kib, 3 * mib, 40 * mib, 150 * mib};
  const std::size_t mapped_before = virtual_bytes();
  for (std::size_t from : sizes) {
    for (std::size_t to : sizes) {
      mete_heap* heap = mete.heap_create();
      auto* block = static_cast<char*>(mete.heap_malloc(heap, from));
      block[0] = 1;
      block[from - 1] = 2;
      block = static_cast<char*>(realloc(block, to));
      CHECK(block != nullptr && block[0] == 1 && (to < from || block[from - 1] == 2));
      block[to - 1] = 3;
      void* stranger = malloc(from);
      std::memset(stranger, 0x5a, from < mib ? from : mib);
      mete.heap_destroy(heap);
      CHECK(all_bytes_are(stranger, from < mib ? from : mib, 0x5a));
      free(stranger);
    }
  }
  mete.collect();
  printf("mapped before %zu KiB, after %zu KiB\n", mapped_before / kib, virtual_bytes() / kib);
  CHECK_LE(virtual_bytes(), mapped_before + 16 * mib);
}

void many_heaps_at_once() {
  static mete_heap* heaps[300];
  for (mete_heap*& heap : heaps) {
    heap = mete.heap_create();
    CHECK(heap != nullptr);
    std::memset(mete.heap_malloc(heap, 5000), 1, 5000);
  }
  for (std::size_t i = 0; i < std::size(heaps); i += 2) {
    mete.heap_destroy(heaps[i]);
  }
  for (std::size_t i = 1; i < std::size(heaps); i += 2) {
    CHECK(mete.heap_malloc(heaps[i], 100) != nullptr);
    mete.heap_destroy(heaps[i]);
  }
}

// Of a block among others, of one alone in its heap, and of one whose heap is gone.
void a_second_free_is_reported_at_once() {
  for (std::size_t neighbours : {std::size_t{10}, std::size_t{0}}) {
    mete_heap* heap = mete.heap_create();
    for (std::size_t i = 0; i < neighbours; ++i) {
      CHECK(mete.heap_malloc(heap, 30 * kib) != nullptr);
    }
    void* block = mete.heap_malloc(heap, 30 * kib);
    child_result result = run_child([=] {
      free(hide(block));
      std::thread([=] { free(hide(block)); }).join();
    });
    CHECK(result.died_of(SIGABRT) && result.says("double free") && result.lines_with("") == 1);
    mete.heap_destroy(heap);
    result = run_child([=] { free(hide(block)); });
    CHECK(result.died_of(SIGABRT) && result.lines_with("") == 1);
  }
}

} // namespace

int main() {
  require_mete();
  mete = find_native();
  every_function();
  errors();
  destroy_gives_everything_back();
  realloc_stays_in_its_heap();
  resized_blocks_die_with_their_heap();
  many_heaps_at_once();
  a_second_free_is_reported_at_once();
}
