// A library with fork handlers that allocate and wait for a thread that does, as those of numeric
// libraries do. When they are registered is the environment variable FORK_HANDLERS:
//
//   (unset)   in the constructor, by pthread_atfork(), as any library does
//   around    in the constructor, past whoever interposes that: then these may come before mete's,
//             so that they run while mete prepares
//
// SPDX-License-Identifier: MIT
#include "every_kind.hpp"
#include "native.hpp"

#include <pthread.h>
#include <semaphore.h>

namespace {

pthread_t worker;
sem_t go;
every_kind given; // allocated by the forking thread, resized and freed by the worker
int handled = 0;

// The native interface, too, where it is in this process.
void use_heap() {
  auto* const create = find_function<decltype(mete_heap_create)>("mete_heap_create");
  if (create == nullptr) {
    return;
  }
  const native mete = find_native();
  mete_heap* const heap = create();
  if (heap == nullptr) { // which a fork that takes long may refuse
    return;
  }
  void* const small = mete.heap_malloc(heap, 100);
  void* const large = mete.heap_calloc(heap, 10, mib);
  CHECK(small != nullptr && large != nullptr);
  CHECK(all_bytes_are(large, 10 * mib, 0));
  mete.heap_free(heap, small);
  mete.heap_destroy(heap);
}

void* work(void*) {
  void* const early = malloc(100);
  while (sem_wait(&go) != 0) {
  }
  free(early);
  given.resize();
  given.release();
  use_every_kind();
  use_heap();
  return nullptr;
}

void start() {
  sem_init(&go, 0, 0);
  CHECK_EQ(pthread_create(&worker, nullptr, work, nullptr), 0);
}

void prepare() {
  use_every_kind();
  given.allocate();
  sem_post(&go);
  pthread_join(worker, nullptr);
}

void parent_and_child() {
  use_every_kind();
  ++handled;
  start();
}

[[gnu::constructor]] void initialise() {
  const char* const when = getenv("FORK_HANDLERS");
  if (when != nullptr && strcmp(when, "around") == 0) {
    using handler = void (*)();
    void* const libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    auto* const registered =
        find_function<int(handler, handler, handler, void*)>("__register_atfork", libc);
    CHECK(registered != nullptr);
    CHECK_EQ(registered(prepare, parent_and_child, parent_and_child, nullptr), 0);
  } else {
    CHECK_EQ(pthread_atfork(prepare, parent_and_child, parent_and_child), 0);
  }
  start();
}

} // namespace

extern "C" [[gnu::visibility("default")]] int fork_handlers_count() {
  return handled;
}
