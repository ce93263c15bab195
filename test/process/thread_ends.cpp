// The ways a thread can end: detached, by pthread_exit in the depth of calls, cancelled, with an
// outbox full of other threads' blocks, with its blocks still live elsewhere. And cancellation
// must never strike inside malloc or free, which are no cancellation points.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <pthread.h>
#include <semaphore.h>
#include <thread>

namespace {

constexpr std::size_t count = 20000;
void* blocks[count];

void allocate_blocks() {
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t size = i % 500 == 0 ? 100 * kib : 16 + i % 2000;
    blocks[i] = malloc(size);
    CHECK(blocks[i] != nullptr);
    std::memset(blocks[i], static_cast<int>(i % 200), size < 1000 ? size : 1000);
  }
}

void free_blocks(std::size_t first, std::size_t step) {
  for (std::size_t i = first; i < count; i += step) {
    CHECK(all_bytes_are(blocks[i], 16, static_cast<unsigned char>(i % 200)));
    free(blocks[i]);
  }
}

void blocks_of_dead_threads() {
  for (int round = 0; round < 20; ++round) {
    std::thread(allocate_blocks).join();
    free_blocks(0, 1);
  }
}

// Three threads free shares of main's blocks and end at once: what is in their outboxes must get
// home. Main then reuses it: without delivery each round would cost 20 MiB more.
void full_outboxes() {
  stay_on_this_processor();
  std::size_t after_first = 0;
  for (int round = 0; round < 20; ++round) {
    allocate_blocks();
    std::thread threads[3];
    for (std::size_t i = 0; i < 3; ++i) {
      threads[i] = std::thread([i] {
        go_to_any_processor();
        free_blocks(i, 3);
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    if (round == 4) {
      after_first = resident_bytes();
    }
  }
  printf("full outboxes: resident %zu KiB, then %zu KiB\n", after_first / kib,
         resident_bytes() / kib);
  CHECK_LE(resident_bytes(), after_first + 8 * mib);
  go_to_any_processor();
}

std::atomic<int> detached_done{0};

void detached() {
  for (int i = 0; i < 500; ++i) {
    std::thread([] {
      free(malloc(1000));
      void* kept = malloc(64);
      free(realloc(kept, 70000));
      ++detached_done;
    }).detach();
    while (detached_done.load() < i - 20) {
      sleep_ms(1);
    }
  }
  while (detached_done.load() < 500) {
    sleep_ms(1);
  }
}

[[noreturn]] void leave(int depth, void* block) {
  if (depth == 0) {
    free(block);
    pthread_exit(malloc(123));
  }
  leave(depth - 1, realloc(block, static_cast<std::size_t>(depth) * 100));
}

void exit_from_the_depth() {
  for (int i = 0; i < 200; ++i) {
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr, [](void*) -> void* { leave(20, malloc(1)); }, nullptr),
             0);
    void* block = nullptr;
    CHECK_EQ(pthread_join(thread, &block), 0);
    std::memset(block, 1, 123);
    free(block);
  }
}

sem_t cancel_sent;
std::atomic<long> completed{0};
std::atomic<long> cleanups{0};

// Runs with a cancellation pending: were any call of malloc or free a cancellation point, it would
// not get to the end. The large sizes make the allocator call the kernel.
void* work_while_cancelled(void*) {
  void* held = malloc(500);
  pthread_cleanup_push(
      [](void* block) {
        free(block);
        free(malloc(5000));
        ++cleanups;
      },
      held);
  int before;
  CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before), 0);
  while (sem_wait(&cancel_sent) != 0) {
  }
  CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before), 0); // no cancellation point
  for (std::size_t size = 1; size < 20 * mib; size += 1 + size * 2) {
    char* block = static_cast<char*>(malloc(size));
    block[size - 1] = 1;
    block = static_cast<char*>(realloc(block, size * 2));
    free(block);
  }
  ++completed;
  for (;;) {
    pthread_testcancel();
  }
  pthread_cleanup_pop(0);
  return nullptr;
}

void cancelled() {
  sem_init(&cancel_sent, 0, 0);
  for (int i = 0; i < 50; ++i) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, work_while_cancelled, nullptr), 0);
    CHECK_EQ(pthread_cancel(thread), 0);
    CHECK_EQ(sem_post(&cancel_sent), 0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
  }
  CHECK_EQ(cleanups, 50);
  CHECK_EQ(completed, 50);
}

void small_stacks() {
  pthread_attr_t attributes;
  CHECK_EQ(pthread_attr_init(&attributes), 0);
  std::size_t smallest = static_cast<std::size_t>(sysconf(_SC_THREAD_STACK_MIN));
  CHECK_EQ(pthread_attr_setstacksize(&attributes, smallest + 16 * kib), 0);
  for (int i = 0; i < 20; ++i) {
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, &attributes,
                 [](void*) -> void* {
                   for (std::size_t size = 1; size < 8 * mib; size += 1 + size / 2) {
                     free(malloc(size));
                     free(calloc(size, 1));
                   }
                   return nullptr;
                 },
                 nullptr),
             0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
  }
  pthread_attr_destroy(&attributes);
}

} // namespace

int main() {
  require_mete();
  blocks_of_dead_threads();
  full_outboxes();
  detached();
  exit_from_the_depth();
  cancelled();
  small_stacks();
}
