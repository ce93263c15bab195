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

class heaps_actor final : public actor {
public:
  heaps_actor(std::uint64_t seed, decltype(&mete_heap_create) create,
              decltype(&mete_heap_destroy) destroy, decltype(&mete_heap_malloc) allocate)
      : actor("heaps", seed), create_(create), destroy_(destroy), allocate_(allocate) {}

  void step() override {
    mete_heap* heap = create_();
    if (heap == nullptr) {
      return;
    }
    for (std::size_t times = random.below(300); times > 0; --times) {
      const std::size_t size = random.size_between(0, random.below(50) == 0 ? 22 : 13);
      void* block = allocate_(heap, size);
      if (block != nullptr) {
        std::memset(block, 1, size);
        if (random.below(3) == 0) {
          free(block);
        } else if (random.below(5) == 0) {
          (void)!realloc(block, random.size_between(0, 18));
        }
      }
    }
    destroy_(heap);
  }

private:
  decltype(&mete_heap_create) create_;
  decltype(&mete_heap_destroy) destroy_;
  decltype(&mete_heap_malloc) allocate_;
};

} // namespace

actor* make_allocating_actor(std::uint64_t seed) {
  return new allocating_actor(seed);
}

actor* make_threads_actor(std::uint64_t seed) {
  return new threads_actor(seed);
}

actor* make_heaps_actor(std::uint64_t seed) {
  auto* create = find_function<mete_heap*() noexcept>("mete_heap_create");
  auto* destroy = find_function<void(mete_heap*) noexcept>("mete_heap_destroy");
  auto* allocate = find_function<void*(mete_heap*, std::size_t) noexcept>("mete_heap_malloc");
  return create != nullptr ? new heaps_actor(seed, create, destroy, allocate) : nullptr;
}

} // namespace soak
