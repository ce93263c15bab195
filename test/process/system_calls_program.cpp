// What repository.system_calls traces: everything that makes mete call the system, between the
// lines "begin" and "end" on standard error. `argument`: "alone" or "threads".
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace {

void say(const char* text) {
  CHECK_EQ(write(2, text, std::strlen(text)), static_cast<ssize_t>(std::strlen(text)));
}

// Bursts of blocks of all kinds, of which a part stays for a while; memory goes back.
void work(std::uint64_t seed) {
  random_source random{seed};
  static constexpr std::size_t count = 30000;
  auto** blocks = static_cast<void**>(calloc(count, sizeof(void*)));
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t size = random.size_between(4, i % 50 == 0 ? 17 : 11);
      blocks[i] = malloc(size);
      std::memset(blocks[i], 1, size);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (random.below(8) != 0) {
        free(blocks[i]);
        blocks[i] = nullptr;
      }
    }
    void* large = hide(malloc(40 * mib));
    large = hide(realloc(large, 70 * mib));
    free(large);
    void* aligned = hide(aligned_alloc(mib, 3 * mib));
    free(aligned);
    for (std::size_t i = 0; i < count; ++i) {
      free(blocks[i]);
      blocks[i] = nullptr;
    }
  }
  free(blocks);
}

} // namespace

int main(int argc, char** argv) {
  require_mete();
  CHECK_EQ(argc, 2);
  bool with_threads = std::strcmp(argv[1], "threads") == 0;
  auto* collect = find_function<std::size_t()>("mete_collect");
  static std::atomic<int> ready;
  static std::atomic<bool> begun;
  static std::atomic<int> finished;
  int others = with_threads ? 4 : 0;
  for (int number = 0; number < others; ++number) {
    std::thread([number] {
      free(malloc(100));
      ++ready;
      while (!begun) {
        sleep_ms(1);
      }
      work(static_cast<std::uint64_t>(number) + 1);
      ++finished;
      for (;;) {
        sleep_ms(1000);
      }
    }).detach();
  }
  while (ready != others) {
    sleep_ms(1);
  }
  say("begin\n");
  begun = true;
  work(99);
  while (finished != others) {
    sleep_ms(10);
  }
  if (with_threads) {
    CHECK(comes_true([] { return thread_count() == 6; })); // mete's own, too
    sleep_ms(400);
  }
  collect();
  say("end\n");
  _exit(0);
}
