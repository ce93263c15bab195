// Bursts of which little stays live, then silence, in many variations: sizes, orders of the frees,
// parts that stay, several bursts, memory that a thread freed which then ended. Beside another
// thread at most 1.6 times what is live stays resident, the whole process counted; in a process
// with one thread, where nobody can come by after the last free, at most 2.0 times, at once.
//
// Sizes are such that most bytes are in blocks larger than a page: what a live block keeps resident
// is its pages. `argument`: "alone" or "beside_thread".
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <algorithm>
#include <cstdint>
#include <semaphore.h>
#include <string>
#include <thread>

namespace {

enum class order { as_allocated, reversed, random };

struct variation {
  const char* name;
  std::size_t smallest, largest;
  order frees;
  std::size_t kept_percent;
  int bursts;
  bool freed_by_a_thread;
};

constexpr variation variations[] = {
    {"at random", 16, 64 * kib, order::random, 4, 1, false},
    {"in order", 16, 64 * kib, order::as_allocated, 4, 1, false},
    {"in reverse", 16, 64 * kib, order::reversed, 4, 1, false},
    {"to 100 KiB", 64, 100 * kib, order::random, 4, 1, false},
    {"100 KiB", 100 * kib, 100 * kib, order::random, 4, 1, false},
    {"large blocks", 64 * kib, 3 * mib, order::random, 10, 1, false},
    {"a third stays", 16, 64 * kib, order::random, 33, 1, false},
    {"three bursts", 16, 64 * kib, order::random, 4, 3, false},
    {"a thread frees", 16, 64 * kib, order::random, 4, 1, true},
};

struct live_block {
  char* address;
  std::size_t size;
};

live_block blocks[40000];
std::size_t count = 0;

void allocate_burst(const variation& what, random_source& random) {
  for (std::size_t total = 0; total < 300 * mib; ++count) {
    CHECK_LT(count, std::size(blocks));
    std::size_t size = what.smallest + random.below(what.largest - what.smallest + 1);
    blocks[count] = {static_cast<char*>(malloc(size)), size};
    CHECK(blocks[count].address != nullptr);
    std::memset(blocks[count].address, 1, size);
    total += size;
  }
}

void free_most(const variation& what, random_source& random) {
  if (what.frees == order::reversed) {
    std::reverse(blocks, blocks + count);
  }
  for (std::size_t i = 0; i < count && what.frees == order::random; ++i) {
    std::swap(blocks[i], blocks[i + random.below(count - i)]);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (random.below(100) < what.kept_percent) {
      blocks[kept++] = blocks[i];
    } else {
      free(blocks[i].address);
    }
  }
  count = kept;
}

void run(const variation& what, bool beside_thread) {
  static sem_t never;
  sem_init(&never, 0, 0);
  if (beside_thread) {
    std::thread([] {
      free(malloc(100));
      sem_wait(&never);
    }).detach();
    sleep_ms(20);
  }
  random_source random{1234};
  for (int burst = 0; burst < what.bursts; ++burst) {
    allocate_burst(what, random);
    if (what.freed_by_a_thread) {
      std::thread([&] { free_most(what, random); }).join();
    } else {
      free_most(what, random);
    }
  }
  std::size_t live = 0;
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(all_bytes_are(blocks[i].address, blocks[i].size, 1));
    live += blocks[i].size;
  }
  std::size_t most = beside_thread ? live / 10 * 16 : live * 2;
  std::size_t at_once = resident_bytes();
  // A second is enough, but for a busy machine.
  for (int tries = 0; tries < 600 && beside_thread && resident_bytes() > most; ++tries) {
    sleep_ms(100);
  }
  std::size_t after = resident_bytes();
  printf("%s: live %zu KiB, resident at once %zu KiB, afterwards %zu KiB, ratio %.2f\n", what.name,
         live / kib, at_once / kib, after / kib,
         static_cast<double>(after) / static_cast<double>(live));
  // A thread that has just ended may still be counted.
  CHECK(comes_true([&] { return (thread_count() == 1) == !beside_thread; }));
  CHECK_LE(after, most);
}

void run_self(const char* mode, const char* name) {
  std::string both = std::string(mode) + "/" + name;
  child_result result = run_child([&] { execute_self(both.c_str()); }, 120);
  if (!result.exited_with(0)) {
    describe(both.c_str(), result);
  }
  CHECK(result.exited_with(0));
}

} // namespace

int main(int argc, char** argv) {
  require_mete();
  CHECK_EQ(argc, 2);
  std::string which = argv[1];
  bool beside_thread = which.rfind("beside_thread", 0) == 0;
  std::size_t slash = which.find('/');
  for (const variation& each : variations) {
    if (slash == std::string::npos) {
      run_self(argv[1], each.name);
    } else if (which.substr(slash + 1) == each.name) {
      run(each, beside_thread);
    }
  }
}
