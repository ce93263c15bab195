// Every call to the operating system for memory fails once: the k-th, for every k that a job makes,
// and then all from the k-th on. Only in builds with METE_FAULT_INJECTION.
//
// The job runs in a process of its own, on the static library, so that the allocator's invariants
// can be evaluated in it. Whatever fails, each allocation gives a block or NULL with ENOMEM, what
// lives keeps its contents, free() and shrinking always succeed, threads and forks go on, and once
// the failures stop everything works again.
//
//   os_call_failures <what fails: one, all> <settings>    the whole series
//   METE_OPTIONS=fail_os_call=<k> os_call_failures job    one run of it
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include "front/statistics.hpp"
#include "os/memory.hpp"

#include <algorithm>
#include <atomic>
#include <malloc.h>
#include <pthread.h>

namespace {

std::atomic<long> refused{0};
bool must_succeed = false; // in the part of the job that runs after the failures

struct live_block {
  unsigned char* begin = nullptr;
  std::size_t size = 0;
  unsigned char pattern = 0;
};

// Small blocks are filled, of large ones a piece at either end: pages cost time.
constexpr std::size_t filled_piece = 16 * kib;

template <class Visit>
void for_each_piece(const live_block& block, Visit visit) {
  visit(block.begin, std::min(block.size, filled_piece));
  if (block.size > filled_piece) {
    std::size_t rest = std::min(block.size - filled_piece, std::size_t{512});
    visit(block.begin + block.size - rest, rest);
  }
}

void fill(const live_block& block) {
  for_each_piece(block, [&](unsigned char* begin, std::size_t size) {
    std::memset(begin, block.pattern, size);
  });
}

void check_contents(const live_block& block) {
  for_each_piece(block, [&](unsigned char* begin, std::size_t size) {
    CHECK(all_bytes_are(begin, size, block.pattern));
  });
}

// The result of an allocation that had errno 0 before it: a block, or a proper refusal.
void* judged(void* result) {
  if (result == nullptr) {
    CHECK_EQ(errno, ENOMEM);
    CHECK(!must_succeed);
    ++refused;
  }
  return result;
}

template <class Allocate>
void* attempt(Allocate allocate) {
  errno = 0;
  return judged(allocate());
}

class block_table {
public:
  bool full() const { return count_ == std::size(blocks_); }
  std::size_t count() const { return count_; }

  // Takes the block over; nullptr is no block.
  void add(void* begin, std::size_t size) {
    if (begin == nullptr) {
      return;
    }
    CHECK(is_aligned(begin, 16));
    CHECK_GE(malloc_usable_size(begin), size);
    live_block& added = blocks_[count_++];
    added = {static_cast<unsigned char*>(begin), size, static_cast<unsigned char>(++serial_)};
    fill(added);
  }

  live_block take(std::size_t index) {
    std::swap(blocks_[index], blocks_[--count_]);
    check_contents(blocks_[count_]);
    return blocks_[count_];
  }

  void free_some(random_source& random, std::size_t limit) {
    for (; limit > 0 && count_ > 0; --limit) {
      free(take(random.below(count_)).begin);
    }
  }

  void check_all() const { std::for_each(blocks_, blocks_ + count_, check_contents); }

  // As free_some() with all, and free() neither fails nor touches errno.
  void free_all() {
    while (count_ > 0) {
      live_block last = take(count_ - 1);
      errno = EDOM;
      free(last.begin);
      CHECK_EQ(errno, EDOM);
    }
  }

private:
  live_block blocks_[2048];
  std::size_t count_ = 0;
  unsigned serial_ = 0;
};
block_table table;

// --- The parts of the job
// -------------------------------------------------------------------------

void use_sizes(random_source& random, std::size_t count, unsigned low_bits, unsigned high_bits) {
  for (std::size_t round = 0; round < count; ++round) {
    std::size_t size = random.size_between(low_bits, high_bits);
    table.add(attempt([=] { return malloc(size); }), size);
    if (random.below(3) == 0) {
      table.free_some(random, 1);
    }
  }
}

void use_alignments(random_source& random) {
  for (std::size_t alignment = 16; alignment <= 4 * mib; alignment *= 4) {
    std::size_t size = random.size_between(3, 17);
    void* block = attempt([=] { return aligned_alloc(alignment, size); });
    CHECK(is_aligned(block, alignment));
    table.add(block, size);
    block = hide(&table);
    errno = EDOM;
    int error = posix_memalign(&block, alignment, size);
    CHECK_EQ(errno, EDOM);
    if (error != 0) {
      CHECK_EQ(error, ENOMEM);
      CHECK_EQ(block, static_cast<void*>(&table)); // untouched
      errno = ENOMEM;
      judged(nullptr);
    } else {
      CHECK(is_aligned(block, alignment));
      table.add(block, size);
    }
  }
}

void use_calloc() {
  for (std::size_t size : size_list{24, 1000, 3000, 20 * kib, 100 * kib, 3 * mib}) {
    for (int round = 0; round < 4; ++round) {
      void* block = attempt([=] { return calloc(size / 8, 8); });
      if (block != nullptr) {
        CHECK(all_bytes_are(block, size, 0));
        table.add(block, size);
      }
    }
  }
}

void use_realloc(random_source& random) {
  for (int round = 0; round < 60 && table.count() > 0; ++round) {
    live_block block = table.take(random.below(table.count()));
    std::size_t size = random.size_between(3, round % 12 == 0 ? 25 : 20);
    void* resized = attempt([=] { return realloc(block.begin, size); });
    if (resized == nullptr) {
      CHECK_GT(size, block.size); // to make a block smaller needs no memory
      check_contents(block);
      free(block.begin);
      continue;
    }
    live_block moved{static_cast<unsigned char*>(resized), std::min(block.size, size),
                     block.pattern};
    CHECK(all_bytes_are(moved.begin, std::min(moved.size, filled_piece), moved.pattern));
    table.add(resized, size);
  }
}

void* thread_main(void* argument) {
  auto& shared = *static_cast<std::atomic<live_block*>*>(argument);
  random_source random{reinterpret_cast<std::uintptr_t>(&random)};
  for (unsigned round = 0; round < 300; ++round) {
    std::size_t size = sizeof(live_block) + random.size_between(4, round % 50 == 0 ? 18 : 11);
    auto* block = static_cast<live_block*>(attempt([=] { return malloc(size); }));
    if (block != nullptr) {
      *block = {reinterpret_cast<unsigned char*>(block + 1), size - sizeof(live_block),
                static_cast<unsigned char>(round)};
      fill(*block);
      block = shared.exchange(block);
    }
    if (block != nullptr) {
      check_contents(*block);
      free(block);
    }
  }
  return nullptr;
}

void use_threads() {
  std::atomic<live_block*> shared{nullptr};
  pthread_t threads[3];
  std::size_t started = 0;
  for (pthread_t& each : threads) {
    int error = pthread_create(&each, nullptr, thread_main, &shared);
    if (error != 0) { // the C library allocates for a thread
      CHECK(error == EAGAIN || error == ENOMEM);
      CHECK(!must_succeed);
      break;
    }
    ++started;
  }
  thread_main(&shared);
  for (std::size_t index = 0; index < started; ++index) {
    CHECK_EQ(pthread_join(threads[index], nullptr), 0);
  }
  if (live_block* last = shared.load()) {
    check_contents(*last);
    free(last);
  }
}

void use_explicit_heap() {
  auto* heap = static_cast<mete_heap*>(attempt([] { return mete_heap_create(); }));
  if (heap == nullptr) {
    return;
  }
  std::size_t sizes[] = {24, 1000, 9000, 100 * kib, 2 * mib, 36 * mib};
  for (std::size_t size : sizes) {
    live_block kept{};
    for (unsigned char pattern = 1; pattern < 4; ++pattern) {
      void* begin = attempt([=] { return mete_heap_malloc(heap, size); });
      if (begin == nullptr) {
        continue;
      }
      if (kept.begin != nullptr) {
        check_contents(kept);
        mete_heap_free(heap, kept.begin);
      }
      kept = {static_cast<unsigned char*>(begin), size, pattern};
      fill(kept);
    }
    if (kept.begin == nullptr) {
      continue;
    }
    void* grown = attempt([=] { return mete_heap_realloc(heap, kept.begin, 2 * size); });
    check_contents({grown != nullptr ? static_cast<unsigned char*>(grown) : kept.begin,
                    std::min(size, filled_piece), kept.pattern});
    void* zero = attempt([=] { return mete_heap_calloc(heap, 1, size); });
    CHECK(zero == nullptr || all_bytes_are(zero, size, 0));
    void* aligned = attempt([=] { return mete_heap_aligned_alloc(heap, 4096, size); });
    CHECK(is_aligned(aligned, 4096));
  }
  mete_heap_destroy(heap);
}

void use_fork(random_source& random) {
  pid_t child = fork();
  if (child == 0) {
    table.check_all();
    use_sizes(random, 100, 3, 18);
    use_calloc();
    use_threads();
    table.free_all();
    mete::front::check_all_invariants();
    _exit(0);
  }
  CHECK_GT(child, 0);
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void do_everything(std::uint64_t seed) {
  random_source random{seed};
  use_sizes(random, 900, 3, 12); // small
  use_sizes(random, 60, 12, 20); // small and medium
  use_alignments(random);
  use_sizes(random, 10, 20, 25); // large
  use_sizes(random, 3, 25, 27);  // mappings
  use_calloc();
  use_realloc(random);
  use_threads();
  use_explicit_heap();
  table.free_some(random, table.count() / 2);
  mete_collect();
  use_sizes(random, 300, 3, 16);
  use_fork(random);
  table.check_all();
  malloc_trim(0);
  use_sizes(random, 300, 3, 16);
  table.free_all();
  mete_collect();
  mete::front::check_all_invariants();
}

// --- One run, and all of them -----------------------------------------------------------------

constexpr int run_without_refusal = 3; // exit status: the failures were bridged

[[noreturn]] void run_job() {
  do_everything(1);
  std::size_t calls = mete::os::counted_calls();
  CHECK_EQ(mete_option_set("fail_os_call", 0), 0);
  must_succeed = true;
  do_everything(2);
  CHECK_EQ(table.count(), 0u);
  fprintf(stderr, "calls: %zu, refused: %ld\n", calls, refused.load());
  _exit(refused.load() == 0 ? run_without_refusal : 0);
}

child_result run_with(const char* settings, long first, const char* how_many) {
  return run_child(
      [=] {
        char text[200];
        snprintf(text, sizeof text, "%s,fail_os_call=%ld,fail_os_calls=%s", settings, first,
                 how_many);
        setenv("METE_OPTIONS", text, 1);
        execute_self("job");
      },
      60);
}

void run_series(const char* settings, const char* how_many) {
  child_result undisturbed = run_with(settings, 0, "1");
  if (!undisturbed.exited_with(run_without_refusal)) {
    describe("undisturbed", undisturbed);
  }
  CHECK(undisturbed.exited_with(run_without_refusal));
  const char* words = std::strstr(undisturbed.text, "calls: ");
  CHECK(words != nullptr);
  long calls = std::strtol(words + std::strlen("calls: "), nullptr, 10);
  CHECK_GT(calls, 50);

  long runs_with_refusal = 0;
  for (long first = 1; first <= calls; ++first) {
    child_result result = run_with(settings, first, how_many);
    bool well = result.exited_with(0) || result.exited_with(run_without_refusal);
    if (!well) {
      char name[64];
      snprintf(name, sizeof name, "call %ld of %ld, %s", first, calls, how_many);
      describe(name, result);
    }
    CHECK(well);
    runs_with_refusal += result.exited_with(0);
  }
  printf("%ld runs, in %ld of them an allocation was refused\n", calls, runs_with_refusal);
  if (std::strcmp(how_many, "1") != 0) {
    CHECK_GT(runs_with_refusal, calls / 4); // or the failures did not come through
  }
}

} // namespace

int main(int count, char** arguments) {
  alarm(0);
  if (count == 2 && std::strcmp(arguments[1], "job") == 0) {
    run_job();
  }
  CHECK_EQ(count, 3);
  run_series(arguments[2], std::strcmp(arguments[1], "one") == 0 ? "1" : "1000000000");
}
