// Misuse that must end in one clear line and abort: frees of what is no block, of the inside of a
// block, of blocks already free, of memory that someone else mapped. Each case runs in a child.
// Required: SIGABRT, exactly one line on standard error that begins with "mete: " and contains the
// address in hexadecimal; never a hang, never silence.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <thread>

namespace {

int mistakes = 0;
alignas(64) char static_data[256] = "not a block";

// Runs `misuse(address)` in a child; the report must name `address`.
void expect_abort(const char* name, void* address, void (*misuse)(void*)) {
  char digits[32];
  snprintf(digits, sizeof digits, "%llx",
           static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(address)));
  child_result result = run_child([&] { misuse(address); }, 20);
  bool well_told = std::strncmp(result.text, "mete: ", 6) == 0 && result.lines_with("") == 1 &&
                   result.text[result.length - 1] == '\n' && result.says(digits) &&
                   !result.says("  "); // a value that was left out
  if (result.died_of(SIGABRT) && well_told) {
    printf("ok: %s: %s", name, result.text);
    return;
  }
  char text[160];
  int length = snprintf(text, sizeof text,
                        "expected SIGABRT and one line with \"mete: \" and %s, but ", digits);
  check_print(text, static_cast<std::size_t>(length));
  describe(name, result);
  ++mistakes;
}

void* at(void* block, std::size_t offset) {
  return static_cast<char*>(block) + offset;
}

void* pointer(std::uintptr_t address) {
  return reinterpret_cast<void*>(address);
}

void free_once(void* block) {
  free(hide(block));
}

void reallocate(void* block) {
  free(realloc(hide(block), 5000));
}

void free_twice(void* block) {
  free(hide(block));
  free(hide(block));
}

void reallocate_freed(void* block) {
  free(hide(block));
  reallocate(block);
}

// Gives the thread cache of a small class reason to flush: many blocks of it allocated before,
// freed after the misuse, and allocated again.
template <std::size_t size, class Misuse>
void between_many_others(Misuse misuse) {
  static void* others[size <= 4 * kib ? 20000 : 1000];
  for (void*& other : others) {
    other = malloc(size);
  }
  misuse();
  for (void* other : others) {
    free(other);
  }
  for (void*& other : others) {
    other = malloc(size);
  }
}

template <std::size_t size>
void free_twice_then_flush(void* block) {
  between_many_others<size>([=] { free_twice(block); });
}

template <std::size_t size>
void free_then_flush(void* block) {
  between_many_others<size>([=] { free_once(block); });
}

template <std::size_t size>
void reallocate_then_flush(void* block) {
  between_many_others<size>([=] { reallocate(block); });
}

void free_in_another_thread(void* block) {
  std::thread(free_once, block).join();
}

template <std::size_t size>
void free_elsewhere_then_here(void* block) {
  between_many_others<size>([=] {
    std::thread(free_once, block).join();
    free(hide(block));
  });
}

template <std::size_t size>
void free_here_then_elsewhere(void* block) {
  between_many_others<size>([=] {
    free(hide(block));
    std::thread(free_once, block).join();
  });
}

void free_in_two_other_threads(void* block) {
  std::thread(free_once, block).join();
  std::thread(free_once, block).join();
}

void* foreign_pages() {
  void* pages = mmap(nullptr, mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK_NE(pages, MAP_FAILED);
  std::memset(pages, 1, mib);
  return pages;
}

void not_a_block() {
  char on_stack[256] = "not a block";
  expect_abort("free of a stack address", at(on_stack, 0), free_once);
  expect_abort("free of static data", at(static_data, 64), free_once);
  expect_abort("free of code", pointer(reinterpret_cast<std::uintptr_t>(&foreign_pages)),
               free_once);
  expect_abort("free of a foreign mapping", foreign_pages(), free_once);
  expect_abort("free inside a foreign mapping", at(foreign_pages(), 64 * kib + 16), free_once);
  expect_abort("free of a small number", pointer(16), free_once);
  expect_abort("free of a small odd number", pointer(1), free_once);
  expect_abort("free of an unmapped address", pointer(0xdeadbeef0000), free_once);
  expect_abort("free of a non-canonical address", pointer(0x8000000000000010), free_once);
  expect_abort("free of the highest address", pointer(~std::uintptr_t{15}), free_once);
  expect_abort("free of the program break", sbrk(0), free_once);
  expect_abort("realloc of a stack address", at(on_stack, 32), reallocate);
  expect_abort("realloc of a foreign mapping", foreign_pages(), reallocate);
}

void inside_a_block() {
  // The fast path does not look where in a small block a pointer points; that is seen when the
  // thread cache is flushed.
  expect_abort("free of block + 1, 100 bytes", at(malloc(100), 1), free_then_flush<100>);
  expect_abort("free of block + 8, 16 bytes", at(malloc(16), 8), free_then_flush<16>);
  expect_abort("free of block + 16, 100 bytes", at(malloc(100), 16), free_then_flush<100>);
  expect_abort("free of block + 512, 1000 bytes", at(malloc(1000), 512), free_then_flush<1000>);
  expect_abort("free of block + 4 KiB, 20 KiB", at(malloc(20 * kib), 4096),
               free_then_flush<20 * kib>);
  expect_abort("free of block + 16 elsewhere", at(malloc(1000), 16), free_in_another_thread);
  for (std::size_t offset : size_list{1, 16, 4096, 65536}) {
    expect_abort("free inside a medium block", at(malloc(100 * kib), offset), free_once);
    expect_abort("free inside a medium block of 1 MiB", at(malloc(mib), offset), free_once);
    expect_abort("free inside a large block", at(malloc(64 * mib), offset), free_once);
  }
  expect_abort("free inside a large block, 1 MiB", at(malloc(64 * mib), mib), free_once);
  expect_abort("free inside a large block, 32 MiB", at(malloc(64 * mib), 32 * mib), free_once);
  expect_abort("realloc inside a small block", at(malloc(1000), 16), reallocate_then_flush<1000>);
  expect_abort("realloc inside a medium block", at(malloc(100 * kib), 4096), reallocate);
  expect_abort("realloc inside a large block", at(malloc(64 * mib), 4096), reallocate);
}

void freed_twice() {
  expect_abort("double free, 16 bytes", malloc(16), free_twice_then_flush<16>);
  expect_abort("double free, 100 bytes", malloc(100), free_twice_then_flush<100>);
  expect_abort("double free, 5000 bytes", malloc(5000), free_twice_then_flush<5000>);
  expect_abort("double free, 100 KiB", malloc(100 * kib), free_twice);
  expect_abort("double free, 1 MiB", malloc(mib), free_twice);
  expect_abort("double free, 64 MiB", malloc(64 * mib), free_twice);
  expect_abort("double free, elsewhere then here", malloc(100), free_elsewhere_then_here<100>);
  expect_abort("double free, here then elsewhere", malloc(100), free_here_then_elsewhere<100>);
  expect_abort("double free, two other threads", malloc(100), free_in_two_other_threads);
  expect_abort("double free, two threads, 100 KiB", malloc(100 * kib), free_in_two_other_threads);
  expect_abort("double free, two threads, 64 MiB", malloc(64 * mib), free_in_two_other_threads);
  expect_abort("realloc after free, 100 KiB", malloc(100 * kib), reallocate_freed);
  expect_abort("realloc after free, 64 MiB", malloc(64 * mib), reallocate_freed);
}

// The report must work when nothing else does.
void report_when_memory_is_out() {
  expect_abort("bad free while out of memory", at(static_data, 128), [](void* block) {
    set_limit(RLIMIT_AS, mib);
    set_limit(RLIMIT_DATA, mib);
    free_once(block);
  });
}

} // namespace

int main() {
  if (!require_mete()) {
    check_skip("what misuse leads to is each allocator's own; this is about mete");
  }
  // What is misused and what flushes must meet in one cache, also where that is a processor's.
  stay_on_this_processor();
  not_a_block();
  inside_a_block();
  freed_twice();
  report_when_memory_is_out();
  CHECK_EQ(mistakes, 0);
}
