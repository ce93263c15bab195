// Actors that allocate: the plain one, one that starts threads of every kind of end, and one that
// makes heaps where an allocator has them.
//
// SPDX-License-Identifier: MIT
#include "blocks.hpp"

#include <malloc.h>
#include <mete/mete.h>

namespace soak {

namespace {

class allocating_actor final : public actor {
public:
  explicit allocating_actor(std::uint64_t seed) : actor("allocate", seed) {}

  void step() override {
    for (int times = 0; times < 50; ++times) {
      blocks_.step(random, true);
    }
    switch (random.below(2000)) {
    case 0:
      malloc_trim(0);
      break;
    case 1:
      blocks_.check_all();
      break;
    case 2: // wait for less to come, as servers do
      blocks_.free_some(random);
      sleep_ms(static_cast<long>(random.below(500)));
      break;
    case 3: {
      const auto info = mallinfo2();
      (void)info;
      break;
    }
    default:
      break;
    }
  }
  void rest() override { blocks_.free_all(); }

private:
  holder blocks_;
};

pthread_key_t last_words; // a value whose destructor allocates, once more after that

void say_last_words(void* block) {
  free(block);
  static thread_local int again = 2;
  if (again-- > 0) {
    pthread_setspecific(last_words, malloc(100));
  }
}

// A thread's life: some blocks, some handed over, and one of four ends.
struct life {
  std::uint64_t seed;
  bool detached;
  std::atomic<int>* alive;
};

void* live(void* argument) {
  int before;
  // Cancelled in the midst of its work, a thread would lose its blocks.
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  const life mine = *static_cast<life*>(argument);
  free(argument);
  random_source random{mine.seed};
  holder blocks;
  pthread_setspecific(last_words, malloc(200));
  for (std::size_t times = random.below(2000); times > 0; --times) {
    blocks.step(random, true);
  }
  blocks.free_all();
  if (mine.detached) {
    --*mine.alive;
    return nullptr;
  }
  if (random.below(4) == 0) {
    pthread_exit(malloc(10));
  }
  if (random.below(4) == 0) {
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    for (;;) {
      pause();
    }
  }
  return malloc(10);
}

void* be_cancelled(void*) {
  for (;;) {
    pause();
  }
}

class threads_actor final : public actor {
public:
  explicit threads_actor(std::uint64_t seed) : actor("threads", seed) {
    CHECK_EQ(pthread_key_create(&last_words, say_last_words), 0);
    // The first time, the C library loads the unwinder, and aborts if it finds no memory for that.
    pthread_t first;
    CHECK(start_thread(first, be_cancelled, nullptr));
    pthread_cancel(first);
    pthread_join(first, nullptr);
  }

  void step() override {
    pthread_t threads[24];
    std::size_t started = 0;
    const std::size_t wanted = 1 + random.below(std::size(threads));
    while (started < wanted && start_one(threads[started], false)) {
      ++started;
    }
    pthread_t ignored;
    if (random.below(3) == 0 && start_one(ignored, true)) {
      pthread_detach(ignored);
    }
    for (std::size_t index = 0; index < started; ++index) {
      pthread_cancel(threads[index]);
      void* result = nullptr;
      CHECK_EQ(pthread_join(threads[index], &result), 0);
      if (result != PTHREAD_CANCELED) {
        free(result);
      }
    }
  }
  // Detached threads end by themselves; a quiet moment waits for them.
  void rest() override {
    while (detached_ != 0) {
      sleep_ms(1);
    }
  }

private:
  bool start_one(pthread_t& thread, bool detached) {
    auto* fresh = static_cast<life*>(malloc(sizeof(life)));
    if (fresh == nullptr) {
      return false;
    }
    *fresh = {random.next(), detached, &detached_};
    detached_ += detached;
    if (!start_thread(thread, live, fresh)) {
      detached_ -= detached;
      free(fresh);
      return false;
    }
    return true;
  }

  std::atomic<int> detached_{0};
};

// Where mete is the allocator, by what dlsym() finds of its interface.
struct heap_functions {
  decltype(&mete_heap_create) create = find<mete_heap*() noexcept>("create");
  decltype(&mete_heap_destroy) destroy = find<void(mete_heap*) noexcept>("destroy");
  decltype(&mete_heap_malloc) allocate = find<void*(mete_heap*, std::size_t) noexcept>("malloc");
  decltype(&mete_heap_realloc) resize =
      find<void*(mete_heap*, void*, std::size_t) noexcept>("realloc");

private:
  template <class Function>
  static Function* find(const char* name) {
    char whole[64];
    snprintf(whole, sizeof whole, "mete_heap_%s", name);
    return find_function<Function>(whole);
  }
};

class heaps_actor final : public actor {
public:
  heaps_actor(std::uint64_t seed, const heap_functions& functions)
      : actor("heaps", seed), functions_(functions) {}

  void step() override {
    mete_heap* heap = functions_.create();
    if (heap == nullptr) {
      return;
    }
    for (std::size_t times = random.below(300); times > 0; --times) {
      const std::size_t size = size_of_one();
      auto* block = static_cast<unsigned char*>(functions_.allocate(heap, size));
      if (block != nullptr) {
        std::memset(block, 7, size);
        use(heap, block, size);
      }
    }
    functions_.destroy(heap); // and what was left in it
  }

private:
  std::size_t size_of_one() { return random.size_between(0, random.below(50) == 0 ? 22 : 13); }

  void use(mete_heap* heap, unsigned char* block, std::size_t size) {
    const std::size_t other = size_of_one();
    switch (random.below(4)) {
    case 0:
      CHECK(all_bytes_are(block, size, 7));
      free(block);
      break;
    case 1: {
      auto* moved = static_cast<unsigned char*>(functions_.resize(heap, block, other));
      CHECK(all_bytes_are(moved == nullptr ? block : moved, std::min(size, other), 7));
      break;
    }
    case 2: {
      // Where it is then is not said, so that it has to be freed.
      auto* moved = static_cast<unsigned char*>(realloc(block, other));
      CHECK(all_bytes_are(moved == nullptr ? block : moved, std::min(size, other), 7));
      free(moved);
      break;
    }
    default:
      break;
    }
  }

  heap_functions functions_;
};

} // namespace

actor* make_allocating_actor(std::uint64_t seed) {
  return new allocating_actor(seed);
}

actor* make_threads_actor(std::uint64_t seed) {
  return new threads_actor(seed);
}

actor* make_heaps_actor(std::uint64_t seed) {
  const heap_functions functions;
  return functions.create != nullptr ? new heaps_actor(seed, functions) : nullptr;
}

} // namespace soak
