// Allocation before main (.preinit_array, constructors, static objects) and after it (static
// destructors, atexit, destructor functions), with threads at both ends, and blocks that live from
// the first moment to the last.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <map>
#include <string>
#include <thread>

namespace {

struct early_blocks {
  char* by_size[24]; // 1 B, 2 B, ... 8 MiB
};

early_blocks from_preinit;
early_blocks from_constructor;

void allocate(early_blocks& blocks, unsigned char mark) {
  for (unsigned bits = 0; bits < 24; ++bits) {
    std::size_t size = std::size_t{1} << bits;
    blocks.by_size[bits] = static_cast<char*>(malloc(size));
    CHECK(blocks.by_size[bits] != nullptr && is_aligned(blocks.by_size[bits], 16));
    std::memset(blocks.by_size[bits], mark, size);
    free(realloc(calloc(1, size), size / 2 + 1));
  }
}

void check_and_free(early_blocks& blocks, unsigned char mark) {
  for (unsigned bits = 0; bits < 24; ++bits) {
    CHECK(all_bytes_are(blocks.by_size[bits], std::size_t{1} << bits, mark));
    free(blocks.by_size[bits]);
    blocks.by_size[bits] = nullptr;
  }
}

void in_thread() {
  early_blocks blocks;
  allocate(blocks, 9);
  check_and_free(blocks, 9);
}

// Runs before any constructor of any library.
void before_everything() {
  allocate(from_preinit, 1);
}
__attribute__((section(".preinit_array"), used)) void (*preinit)() = before_everything;

__attribute__((constructor(101))) void first_constructor() {
  allocate(from_constructor, 2);
  std::thread(in_thread).join();
}

// The parent counts these signs of life on standard error.
void say(const char* word) {
  check_print(word, std::strlen(word));
  check_print("\n", 1);
}

__attribute__((destructor(101))) void last_destructor() {
  in_thread();
  check_and_free(from_preinit, 1);
  check_and_free(from_constructor, 2);
  say("destructor function");
}

struct long_lived {
  std::map<int, std::string> words;

  long_lived() {
    for (int i = 0; i < 1000; ++i) {
      words[i] = std::string(static_cast<std::size_t>(i), 'w');
    }
  }

  ~long_lived() {
    CHECK_EQ(words.size(), 1000);
    CHECK_EQ(words[999].size(), 999);
    words[5000] = std::string(200000, 'z');
    std::thread(in_thread).join();
    say("static object");
  }
};

long_lived global;

void at_exit() {
  in_thread();
  void* block = malloc(100);
  std::atexit([] { free(malloc(1)); }); // registers another one, which allocates in libc
  free(block);
  say("atexit");
}

void live() {
  static long_lived local;
  std::atexit(at_exit);
  std::at_quick_exit([] {
    in_thread();
    say("at_quick_exit");
  });
  std::thread([] { // still at work while the process ends
    for (;;) {
      free(malloc(3000));
    }
  })
      .detach();
}

void expect_signs(const char* how, const child_result& result, int static_objects, int others) {
  bool right = result.exited_with(0) && result.lines_with("static object") == static_objects &&
               result.lines_with("") == static_objects + others;
  if (!right) {
    describe(how, result);
  }
  CHECK(right);
}

} // namespace

int main() {
  require_mete();
  for (unsigned bits = 0; bits < 24; ++bits) {
    CHECK(all_bytes_are(from_preinit.by_size[bits], std::size_t{1} << bits, 1));
  }
  expect_signs("exit", run_child([] {
                 live();
                 std::exit(0);
               }),
               2, 2);
  expect_signs("quick_exit", run_child([] {
                 live();
                 std::quick_exit(0);
               }),
               0, 1);
  expect_signs("_exit", run_child([] {
                 live();
                 _exit(0);
               }),
               0, 0);
  // From a thread, while main sleeps.
  expect_signs("exit in a thread", run_child([] {
                 live();
                 std::thread([] { std::exit(0); }).detach();
                 sleep_ms(20000);
               }),
               2, 2);
  from_preinit.by_size[5] = static_cast<char*>(realloc(from_preinit.by_size[5], 64));
}
