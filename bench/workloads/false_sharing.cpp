// SPDX-License-Identifier: MIT
// After cache-thrash and cache-scratch of E. Berger et al., "Hoard" (ASPLOS 2000). Active: each
// thread allocates a small block, writes to it many times and frees it; an allocator that cuts one
// cache line for two threads makes both slow. Passive: the blocks are first made by one thread side
// by side and freed by the others; an allocator that hands them out again where they were freed
// keeps two threads on one line for good.

#include "support.hpp"

namespace {

constexpr std::size_t block_bytes = 8;

void write_many(volatile std::uint64_t* counter, std::uint64_t writes) {
  *counter = 0;
  for (std::uint64_t i = 0; i < writes; ++i) {
    *counter = *counter + 1;
  }
  bench::check(*counter == writes, "a block is shared by two threads");
}

volatile std::uint64_t* allocate() {
  void* block = std::malloc(block_bytes);
  bench::check(block != nullptr, "malloc gave no memory");
  return static_cast<volatile std::uint64_t*>(block);
}

void release(volatile std::uint64_t* block) {
  std::free(const_cast<std::uint64_t*>(block));
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const char* mode = arguments.text("--mode", "active");
  const unsigned threads = arguments.threads(2);
  const std::uint64_t blocks = arguments.number("--blocks", 1'000'000, 150'000);
  const std::uint64_t writes = arguments.number("--writes", 2000, 2000);
  arguments.finish();
  const bool passive = std::strcmp(mode, "passive") == 0;
  bench::check(passive || std::strcmp(mode, "active") == 0, "--mode takes active or passive");

  bench::table<volatile std::uint64_t*> first(threads);
  for (volatile std::uint64_t*& block : first) {
    block = passive ? allocate() : nullptr;
  }
  bench::run_threads(threads, [&](unsigned index) {
    if (passive) {
      write_many(first[index], writes);
      release(first[index]);
    }
    for (std::uint64_t i = 0; i < blocks / threads; ++i) {
      volatile std::uint64_t* block = allocate();
      write_many(block, writes);
      release(block);
    }
  });
  return 0;
}
