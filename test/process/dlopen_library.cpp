// libmete.so opened at run time by a program that has another allocator: 100 times, with other
// libraries having used up static thread-local storage before, with threads that use it, and
// threads that outlive its closing. Arguments: the path of libmete.so, the path of the plugin.
//
// SPDX-License-Identifier: MIT
#include "library_copies.hpp"

#include <malloc.h>
#include <semaphore.h>
#include <thread>

namespace {

struct interface {
  void* library;
  const char* (*version)();
  mete_heap* (*create)();
  void (*destroy)(mete_heap*);
  void* (*allocate)(mete_heap*, std::size_t);
  void* (*allocate_zero)(mete_heap*, std::size_t, std::size_t);
  void (*release)(mete_heap*, void*);
  std::size_t (*usable_size)(const void*);
  std::size_t (*collect)();
  void* (*plain_allocate)(std::size_t);
  void (*plain_release)(void*);
};

template <class Function>
void find(Function*& function, const char* name, void* library) {
  function = find_function<Function>(name, library);
  if (function == nullptr) {
    check_failed(__FILE__, __LINE__, "libmete.so has", name);
  }
}

interface open_mete(const char* path) {
  interface mete {};
  mete.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (mete.library == nullptr) {
    check_failed(__FILE__, __LINE__, "dlopen: ", dlerror());
  }
  find(mete.version, "mete_version", mete.library);
  find(mete.create, "mete_heap_create", mete.library);
  find(mete.destroy, "mete_heap_destroy", mete.library);
  find(mete.allocate, "mete_heap_malloc", mete.library);
  find(mete.allocate_zero, "mete_heap_calloc", mete.library);
  find(mete.release, "mete_heap_free", mete.library);
  find(mete.usable_size, "mete_malloc_usable_size", mete.library);
  find(mete.collect, "mete_collect", mete.library);
  find(mete.plain_allocate, "malloc", mete.library);
  find(mete.plain_release, "free", mete.library);
  return mete;
}

void use(const interface& mete) {
  CHECK_EQ(std::strcmp(mete.version(), METE_VERSION), 0);
  mete_heap* heap = mete.create();
  CHECK(heap != nullptr);
  for (std::size_t size = 1; size < 3 * mib; size += 1 + size / 2) {
    void* block = mete.allocate(heap, size);
    CHECK(block != nullptr && is_aligned(block, 16));
    std::memset(block, 1, size);
    CHECK_GE(mete.usable_size(block), size);
    mete.release(heap, block);
    CHECK(all_bytes_are(mete.allocate_zero(heap, 1, size), size, 0));
    void* plain = mete.plain_allocate(size); // its malloc works too, beside the program's own
    std::memset(plain, 2, size);
    mete.plain_release(plain);
  }
  mete.destroy(heap);
  mete.collect();
}

void use_in_threads(const interface& mete) {
  std::thread threads[3];
  for (std::thread& thread : threads) {
    thread = std::thread([&mete] { use(mete); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// The thread has used mete and ends after the library was closed: what mete registered for the
// end of threads must still be there, or be gone without a trace.
void thread_outlives_library(const char* path) {
  interface mete = open_mete(path);
  sem_t used;
  sem_t closed;
  sem_init(&used, 0, 0);
  sem_init(&closed, 0, 0);
  std::thread thread([&] {
    use(mete);
    sem_post(&used);
    sem_wait(&closed);
  });
  sem_wait(&used);
  CHECK_EQ(dlclose(mete.library), 0);
  sem_post(&closed);
  thread.join();
}

// 100 times; address space is given back too, or kept once: 89 reservations left behind would be 89
// times the region.
void open_and_close(const char* path) {
  mallopt(M_ARENA_MAX, 1); // the program's own malloc must not blur the measurement
  std::size_t after_first = 0;
  for (int i = 0; i < 100; ++i) {
    interface mete = open_mete(path);
    use(mete);
    if (i % 10 == 0) {
      use_in_threads(mete);
    }
    CHECK_EQ(dlclose(mete.library), 0);
    free(malloc(1000));
    if (i == 10) {
      after_first = virtual_bytes();
    }
  }
  CHECK_LE(virtual_bytes(), after_first + 256 * mib);
}

// Others took static thread-local storage before mete came, or want it afterwards.
void among_thirty_libraries(const char* path, const char* other, int opened_before) {
  library_copies copies(other, 30);
  for (int i = 0; i < opened_before; ++i) {
    copies.open_copy(i);
  }
  interface mete = open_mete(path);
  use(mete);
  for (int i = opened_before; i < 30; ++i) {
    copies.open_copy(i);
  }
  use_in_threads(mete);
  CHECK_EQ(dlclose(mete.library), 0);
}

void expect_success(const char* name, const child_result& result) {
  if (!result.exited_with(0)) {
    describe(name, result);
  }
  CHECK(result.exited_with(0));
}

} // namespace

int main(int count, char** arguments) {
  alarm(check_time_limit_s);
  CHECK_EQ(count, 3);
  const char* path = arguments[1];
  const char* other = arguments[2];
  CHECK_EQ(find_function<void>("mete_version"), nullptr); // not preloaded: that is the point
  // Each in a process in which mete was not opened before.
  expect_success("100 times", run_child([=] { open_and_close(path); }));
  expect_success("thread outlives library", run_child([=] { thread_outlives_library(path); }));
  for (int before : {30, 15, 0}) {
    expect_success("30 other libraries",
                   run_child([=] { among_thirty_libraries(path, other, before); }));
  }
}
