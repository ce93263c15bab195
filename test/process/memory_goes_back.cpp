// Freed memory goes back to the system: small, medium and large blocks by themselves after a while,
// and at once on mete_collect or malloc_trim(0). Also memory that another thread freed, or that a
// thread which sleeps holds in its caches.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <semaphore.h>
#include <thread>

namespace {

constexpr std::size_t total = 100 * mib;
void* blocks[total / 1000];

std::size_t allocate(std::size_t size) {
  std::size_t count = total / size;
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(size);
    CHECK(blocks[i] != nullptr);
    std::memset(blocks[i], 1, size);
  }
  return count;
}

void release(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    free(blocks[i]);
  }
}

// Metadata and caches may stay: 8 MiB of 100.
constexpr std::size_t may_stay = 8 * mib;

void check_gone(const char* how, std::size_t size, std::size_t before) {
  std::size_t now = resident_bytes();
  printf("%s, blocks of %zu: resident %zu KiB before, %zu KiB after\n", how, size, before / kib,
         now / kib);
  CHECK_LE(now, before + may_stay);
}

void check_goes(const char* how, std::size_t size, std::size_t before) {
  const shrunk then = await_resident(before + may_stay);
  printf("%s, within %.1f s, ", how, then.seconds);
  check_gone("by itself", size, before);
}

void by_itself(std::size_t size, std::size_t before) {
  release(allocate(size));
  check_goes("freed", size, before);
}

void on_collect(std::size_t size, std::size_t before) {
  auto* collect = find_function<std::size_t()>("mete_collect");
  if (collect == nullptr && check_any_allocator()) {
    return;
  }
  CHECK(collect != nullptr);
  release(allocate(size));
  std::size_t held = resident_bytes();
  std::size_t purged = collect();
  check_gone("mete_collect", size, before);
  // What it says it gave back is what has gone, as far as one can tell from outside.
  std::size_t gone = held - std::min(held, resident_bytes());
  CHECK_GE(purged + mib, gone);
}

void on_trim(std::size_t size, std::size_t before) {
  release(allocate(size));
  malloc_trim(0);
  check_gone("malloc_trim", size, before);
}

void freed_by_another_thread(std::size_t size, std::size_t before) {
  std::size_t count = allocate(size);
  std::thread(release, count).join();
  check_goes("freed by a thread that ended", size, before);
  std::thread([size] { allocate(size); }).join();
  release(count);
  check_goes("of a thread that ended", size, before);
}

// The freeing thread sleeps and makes no further call, and so does everybody else.
void freed_by_a_sleeper(std::size_t size, std::size_t before) {
  static sem_t freed;
  static sem_t wake;
  sem_init(&freed, 0, 0);
  sem_init(&wake, 0, 0);
  std::thread sleeper([size] {
    release(allocate(size));
    sem_post(&freed);
    sem_wait(&wake);
  });
  sem_wait(&freed);
  check_goes("of a thread that sleeps", size, before);
  sem_post(&wake);
  sleeper.join();
}

} // namespace

int main() {
  require_mete();
  std::memset(blocks, 0, sizeof blocks);
  std::thread([] { free(malloc(1)); }).join();
  std::size_t before = resident_bytes();
  for (std::size_t size : size_list{std::size_t{1000}, 100 * kib, 10 * mib}) {
    by_itself(size, before);
    on_collect(size, before);
    on_trim(size, before);
    freed_by_another_thread(size, before);
    freed_by_a_sleeper(size, before);
  }
}
