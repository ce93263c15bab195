// Double frees, frees of pointers into a block, realloc and malloc_usable_size of either: reported
// at the wrong call itself, for every size class and beyond, by every way that a block can take
// after it was freed (the thread's cache, its slab, another thread's cache or outbox, a page that
// was given back, a slab that is gone). Each case runs in a child that leaves right after the wrong
// call: what is not reported by then is not reported.
//
// And the other way round: a live block that holds the very bytes by which freed blocks are known
// is a block like any other.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <semaphore.h>
#include <thread>

namespace {

int mistakes = 0;
int cases = 0;

// `wrong_call` must end the child by a report.
template <class Call>
void must_end(const char* name, std::size_t size, Call wrong_call) {
  ++cases;
  const child_result result = run_child(
      [&] {
        wrong_call();
        _exit(3);
      },
      20);
  if (result.died_of(SIGABRT) && std::strncmp(result.text, "mete: ", 6) == 0 &&
      result.lines_with("") == 1)
    return;
  printf("case %d, %zu bytes: %s\n", cases, size, name);
  describe(name, result);
  ++mistakes;
}

template <class Call>
void must_work(const char* name, std::size_t size, Call call) {
  ++cases;
  const child_result result = run_child(call, 20);
  if (result.exited_with(0) && result.length == 0)
    return;
  printf("case %d, %zu bytes: %s\n", cases, size, name);
  describe(name, result);
  ++mistakes;
}

// A thread that is there before the case begins: to start one allocates, which may hand the block
// in question out again. It does one piece of work when it is asked to, and then ends or stays.
class other_thread {
public:
  explicit other_thread(bool stays) : stays_(stays) {
    sem_init(&asked_, 0, 0);
    sem_init(&done_, 0, 0);
    thread_ = std::thread([this, stays] {
      free(hide(malloc(16))); // what a thread's first allocation makes is made
      sem_post(&done_);
      wait(asked_);
      run_(work_);
      if (!stays)
        return;
      sem_post(&done_); // from here on `this` may be gone
      for (;;)
        pause();
    });
    wait(done_);
  }

  ~other_thread() {
    if (thread_.joinable())
      thread_.detach();
  }
  other_thread(const other_thread&) = delete;
  other_thread& operator=(const other_thread&) = delete;

  template <class Work>
  void does(Work work) {
    work_ = &work;
    run_ = [](void* of_caller) { (*static_cast<Work*>(of_caller))(); };
    sem_post(&asked_);
    stays_ ? wait(done_) : thread_.join();
  }

private:
  static void wait(sem_t& semaphore) {
    while (sem_wait(&semaphore) != 0) {
    }
  }

  sem_t asked_;
  sem_t done_;
  void* work_ = nullptr;
  void (*run_)(void*) = nullptr;
  bool stays_;
  std::thread thread_;
};

// A block among others of its size. The others come before and after it in the heap, so that their
// frees move it from place to place.
constexpr std::size_t most_others = 3000;
void* others[most_others];
std::size_t other_count = 0;

char* block_among_others(std::size_t size) {
  other_count = std::min(most_others, 16 * mib / size + 8);
  void* block = nullptr;
  for (std::size_t i = 0; i < other_count; ++i) {
    others[i] = malloc(size);
    CHECK(others[i] != nullptr);
    if (i == other_count / 2)
      block = malloc(size);
  }
  return static_cast<char*>(hide(block));
}

// Every so many, `step` 1: all.
void free_others(std::size_t step) {
  for (std::size_t i = 0; i < other_count; ++i)
    if (i % step == 0)
      free(others[i]);
}

// --- The cases --------------------------------------------------------------------------------

using use_of_block = void (*)(void*);
struct named_use {
  const char* name;
  use_of_block use;
};

other_thread* last_user; // of a case whose last call is another thread's

const named_use uses[] = {
    {"free", [](void* block) { free(hide(block)); }},
    {"realloc", [](void* block) { (void)hide(realloc(hide(block), 5000)); }},
    {"malloc_usable_size", [](void* block) { (void)malloc_usable_size(hide(block)); }},
    {"free by another thread", [](void* block) { last_user->does([=] { free(hide(block)); }); }},
};

// Runs one case for each use of the block that is free by then.
template <class Prepare>
void must_end_each(const char* what, std::size_t size, Prepare prepare) {
  for (const named_use& again : uses) {
    char name[100];
    snprintf(name, sizeof name, "%s, after it was freed: %s", again.name, what);
    must_end(name, size, [&] {
      other_thread user(true);
      last_user = &user;
      again.use(prepare());
    });
  }
}

void after_free(std::size_t size) {
  must_end_each("just before", size, [=] {
    void* const block = malloc(size);
    free(hide(block));
    return block;
  });
  must_end_each("and half of its neighbours", size, [=] {
    void* const block = block_among_others(size);
    free(block);
    free_others(2);
    return block;
  });
  must_end_each("and all of its neighbours", size, [=] {
    void* const block = block_among_others(size);
    free(block);
    free_others(1);
    return block;
  });
  must_end_each("and everything was given back that can be", size, [=] {
    void* const block = block_among_others(size);
    free(block);
    free_others(7);
    malloc_trim(0);
    return block;
  });
  must_end_each("and its page was given back and is used again", size, [=] {
    void* const block = block_among_others(size);
    free(block);
    for (std::size_t i = 0; i + 1 < other_count; ++i)
      free(others[i]);
    malloc_trim(0);
    if (size <= 32 * kib) // the lowest free block comes first, not this one
      CHECK_NE(hide(malloc(size)), block);
    return block;
  });
  must_end_each("by a thread that has ended", size, [=] {
    other_thread first(false);
    void* const block = malloc(size);
    first.does([=] { free(hide(block)); });
    return block;
  });
  must_end_each("by a thread that keeps it", size, [=] {
    other_thread first(true);
    void* const block = malloc(size);
    first.does([=] {
      void* const own = malloc(size);
      free(hide(block));
      free(hide(own));
    });
    return block;
  });
  must_end_each("by another thread than allocated it", size, [=] {
    other_thread first(false);
    void* block = nullptr;
    first.does([&] { block = malloc(size); });
    free(hide(block));
    return block;
  });
}

void inside(std::size_t size) {
  const std::size_t usable = malloc_usable_size(hide(malloc(size)));
  for (const std::size_t offset : {std::size_t{1}, std::size_t{8}, std::size_t{16}, std::size_t{24},
                                   usable / 2 / 16 * 16, usable - 16, usable - 8, usable - 1}) {
    if (offset == 0 || offset >= usable)
      continue;
    for (const named_use& wrong : uses)
      must_end(wrong.name, size, [&] {
        other_thread user(true);
        last_user = &user;
        wrong.use(block_among_others(size) + offset);
      });
  }
}

// The bytes in a freed block, for a child that may read what it must not.
void copy_of_freed_block(void* to, std::size_t size) {
  void* const freed = malloc(size);
  free(hide(freed));
  std::memcpy(to, hide(freed), std::min<std::size_t>(size, 64));
}

void live_blocks_that_look_freed(std::size_t size) {
  must_work("free of a live block with a freed one's contents", size, [&] {
    void* const block = malloc(size);
    copy_of_freed_block(block, size);
    CHECK_GE(malloc_usable_size(block), size);
    free(block);
    void* const first = malloc(size);
    void* const second = malloc(size);
    CHECK_NE(hide(first), second);
  });
  must_work("realloc of one", size, [&] {
    void* block = malloc(size);
    copy_of_freed_block(block, size);
    block = realloc(block, 2 * size);
    CHECK(block != nullptr);
    free(block);
  });
  must_work("free of one by another thread", size, [&] {
    other_thread user(true);
    void* const block = malloc(size);
    copy_of_freed_block(block, size);
    user.does([=] {
      free(malloc(size));
      free(block);
    });
  });
  must_end("a second free of one", size, [&] {
    void* const block = malloc(size);
    copy_of_freed_block(block, size);
    free(hide(block));
    free(hide(block));
  });
}

} // namespace

int main(int argc, char**) {
  if (!require_mete())
    check_skip("what misuse leads to is each allocator's own; this is about mete");
  stay_on_this_processor();
  // Every class, by its largest and its smallest size, and big blocks of each kind.
  static std::size_t sizes[256];
  std::size_t count = 0;
  std::size_t before = 0;
  for (std::size_t size = 1; size <= 32 * kib; size = before + 1) {
    before = malloc_usable_size(hide(malloc(size)));
    sizes[count++] = before;
    if (argc > 1)
      sizes[count++] = size;
  }
  for (const std::size_t size : {33 * kib, 100 * kib, mib, 3 * mib, 31 * mib, 40 * mib})
    sizes[count++] = size;
  CHECK_GE(count, 70u);
  for (std::size_t i = 0; i < count; ++i) {
    after_free(sizes[i]);
    inside(sizes[i]);
    if (sizes[i] < 32 * mib) // a freed mapping cannot be read
      live_blocks_that_look_freed(sizes[i]);
  }
  printf("%d cases, %d went wrong\n", cases, mistakes);
  CHECK_EQ(mistakes, 0);
}
