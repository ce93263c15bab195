// Destructors of thread-specific data that allocate and free while their thread ends, before and
// after the allocator's own has run: C++ thread_local objects and pthread keys, touched before and
// after the thread's first malloc, keys that set themselves again for every round that POSIX
// allows. Then the same many times over: what they allocate so late must not be lost.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <climits>
#include <malloc.h>
#include <memory>
#include <pthread.h>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<int> object_destructors{0};
std::atomic<int> key_destructors{0};

void allocate_and_free() {
  void* blocks[30];
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = malloc(i * i * 20);
    CHECK(blocks[i] != nullptr && is_aligned(blocks[i], 16));
    std::memset(blocks[i], 5, i * i * 20);
  }
  for (void* block : blocks) {
    free(block);
  }
  free(realloc(calloc(1, 100), 200 * kib));
}

struct busy_object {
  std::vector<std::string> texts;

  void touch() { texts.assign(20, std::string(100, 'x')); }

  ~busy_object() {
    ++object_destructors;
    CHECK_EQ(texts.size(), 20);
    CHECK(texts[19] == std::string(100, 'x'));
    allocate_and_free();
    texts.resize(100, std::string(50, 'y'));
  }
};

thread_local busy_object first_object;
thread_local busy_object second_object;
thread_local std::unique_ptr<int[]> plain_array;

struct key_value {
  pthread_key_t key;
  int rounds;
};

// Sets itself again with a new block, until the last round that POSIX promises.
void destroy_value(void* block) {
  key_value value = *static_cast<key_value*>(block);
  ++key_destructors;
  delete static_cast<key_value*>(block);
  allocate_and_free();
  if (++value.rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
    CHECK_EQ(pthread_setspecific(value.key, new key_value(value)), 0);
  }
}

pthread_key_t early_key; // made before main, and set before the thread's first malloc
pthread_key_t late_key;
key_value early_static;

// The first value of the early key is no block, so that setting it allocates nothing.
void destroy_early(void* value) {
  if (value == &early_static) {
    ++key_destructors;
    allocate_and_free();
    CHECK_EQ(pthread_setspecific(early_key, new key_value{early_key, 1}), 0);
  } else {
    destroy_value(value);
  }
}

__attribute__((constructor)) void make_early_key() {
  CHECK_EQ(pthread_key_create(&early_key, destroy_early), 0);
}

void touch_before_malloc(bool objects_first) {
  CHECK_EQ(pthread_setspecific(early_key, &early_static), 0);
  if (objects_first) {
    first_object.touch();
  }
  allocate_and_free();
  CHECK_EQ(pthread_setspecific(late_key, new key_value{late_key, 0}), 0);
  first_object.touch();
  second_object.touch();
  plain_array.reset(new int[1000]);
}

// A thread that does not allocate at all until its destructors run.
void only_destructors() {
  CHECK_EQ(pthread_setspecific(early_key, &early_static), 0);
}

void run_threads(int count) {
  for (int i = 0; i < count; ++i) {
    std::thread(touch_before_malloc, i % 2 == 0).join();
    pthread_t bare;
    CHECK_EQ(pthread_create(
                 &bare, nullptr,
                 [](void*) -> void* {
                   only_destructors();
                   return nullptr;
                 },
                 nullptr),
             0);
    CHECK_EQ(pthread_join(bare, nullptr), 0);
  }
}

} // namespace

int main() {
  require_mete();
  CHECK_EQ(pthread_key_create(&late_key, destroy_value), 0);
  run_threads(1);
  CHECK_EQ(object_destructors, 2);
  CHECK_EQ(key_destructors, 3 * PTHREAD_DESTRUCTOR_ITERATIONS);
  run_threads(500);
  malloc_trim(0); // what waits for its decay is not lost
  std::size_t before = resident_bytes();
  run_threads(2500);
  malloc_trim(0);
  printf("resident after 500 pairs of threads %zu KiB, after 3,000 %zu KiB\n", before / kib,
         resident_bytes() / kib);
  // One lost page for each of 5,000 threads would be 20 MiB.
  CHECK_LE(resident_bytes(), before + mib);
}
