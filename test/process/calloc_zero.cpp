// calloc gives zeroes, as far as malloc_usable_size() says that the block goes (programs use all of
// it), above all on memory that was used before: each size is dirtied, freed and allocated again;
// then much memory is dirtied, given back (or not), and allocated again. In the initial thread, in
// others, in threads that are about to end, and in explicit heaps.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

#include <malloc.h>
#include <pthread.h>
#include <thread>

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
      CHECK_GE(malloc_usable_size(blocks[i]), size);
      CHECK(all_bytes_are(blocks[i], malloc_usable_size(blocks[i]), 0));
      std::memset(blocks[i], 0x5a, malloc_usable_size(blocks[i]));
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
    std::memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
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
      CHECK(all_bytes_are(blocks[i], malloc_usable_size(blocks[i]), 0));
      std::memset(blocks[i], 0xee, malloc_usable_size(blocks[i]));
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(all_bytes_are(blocks[i], malloc_usable_size(blocks[i]), i % 8 != 0 ? 0xee : 0xff));
    free(blocks[i]);
  }
}

// A run that grew by realloc and came back has pages of two pasts.
void check_after_realloc(std::size_t size) {
  void* block = malloc(size);
  std::memset(block, 0xa5, malloc_usable_size(block));
  block = realloc(block, size * 2);
  std::memset(block, 0xa5, malloc_usable_size(block));
  block = realloc(block, size + 1);
  void* const behind = calloc(1, size - 1);
  CHECK(all_bytes_are(behind, malloc_usable_size(behind), 0));
  free(block);
  free(behind);
}

void check_sizes(std::size_t step) {
  check_size(0);
  for (std::size_t size = 1; size <= 5000; size += size < 600 ? 1 : step) {
    check_size(size);
  }
  for (unsigned bits = 12; bits <= 24; ++bits) {
    std::size_t power = std::size_t{1} << bits;
    for (std::size_t size : size_list{power - 17, power, power + 1, power + power / 2}) {
      check_size(size);
      check_after_realloc(size);
    }
  }
}

void in_heap(const native& mete, mete_heap* heap, std::size_t size) {
  void* blocks[most_blocks];
  const std::size_t count = size < 64 * kib ? most_blocks : 2;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = mete.heap_calloc(heap, 1, size);
      CHECK(all_bytes_are(blocks[i], malloc_usable_size(blocks[i]), 0));
      std::memset(blocks[i], 0xa5, malloc_usable_size(blocks[i]));
    }
    for (std::size_t i = 0; i < count; ++i) {
      mete.heap_free(heap, blocks[i]);
    }
  }
}

void in_heaps() {
  if (dlsym(RTLD_DEFAULT, "mete_heap_calloc") == nullptr) {
    return; // another allocator
  }
  const native mete = find_native();
  mete_heap* const heap = mete.heap_create();
  for (std::size_t size = 0; size <= 40000; size += size < 600 ? 1 : 113) {
    in_heap(mete, heap, size);
  }
  for (std::size_t size : size_list{100001, 1000001, 5000001, 40000001}) {
    in_heap(mete, heap, size);
  }
  mete.heap_destroy(heap);
}

pthread_key_t last_words;

// Sets itself again until the last round, in which a thread has no heap of its own any more.
void check_in_destructor(void* rounds) {
  check_sizes(301);
  const auto left = reinterpret_cast<std::uintptr_t>(rounds) - 1;
  if (left != 0) {
    CHECK_EQ(pthread_setspecific(last_words, reinterpret_cast<void*>(left)), 0);
  }
}

void in_a_thread() {
  const std::uintptr_t rounds = PTHREAD_DESTRUCTOR_ITERATIONS;
  CHECK_EQ(pthread_setspecific(last_words, reinterpret_cast<void*>(rounds)), 0);
  check_sizes(101);
}

} // namespace

int main() {
  require_mete();
  check_sizes(13);
  check_size(64 * mib);
  CHECK_EQ(pthread_key_create(&last_words, check_in_destructor), 0);
  std::thread first(in_a_thread);
  std::thread second(in_a_thread);
  first.join();
  second.join();
  in_heaps();
  for (std::size_t size : size_list{48, 1000, 5000, 40000, 200000, 3000000}) {
    check_after_purge(size, [] {});
    check_after_purge(size, [] { malloc_trim(0); });
  }
  check_after_purge(1000, [] { sleep_ms(1200); });
}
