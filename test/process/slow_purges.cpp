// Purging while everybody goes on: threads allocate, free each other's blocks, trim, die and are
// born, while each purge takes long (in builds with fault injection; see METE_OPTIONS in
// CMakeLists.txt). Whatever happens between a page's being chosen and its being purged must not
// touch a live block: contents are checked.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <malloc.h>
#include <thread>

namespace {

std::atomic<bool> stop{false};
constexpr std::size_t exchange_slots = 512;

struct block_header {
  std::size_t size;
  unsigned char pattern;
};
std::atomic<block_header*> exchange[exchange_slots];

block_header* make_block(random_source& random) {
  std::size_t size = sizeof(block_header) + (random.below(300) == 0 ? random.size_between(16, 22)
                                                                    : random.size_between(3, 14));
  auto* block =
      static_cast<block_header*>(random.below(4) == 0 ? aligned_alloc(64, size) : malloc(size));
  CHECK(block != nullptr);
  block->size = size;
  block->pattern = static_cast<unsigned char>(random.below(256));
  std::memset(block + 1, block->pattern, size - sizeof(block_header));
  return block;
}

void check_and_free(block_header* block) {
  if (block == nullptr) {
    return;
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(block + 1);
  for (std::size_t at = 0; at < block->size - sizeof(block_header); at += 61) {
    CHECK_EQ(unsigned{bytes[at]}, unsigned{block->pattern});
  }
  free(block);
}

void churn(std::uint64_t seed) {
  random_source random{seed};
  while (!stop.load(std::memory_order_relaxed)) {
    block_header* block = make_block(random);
    check_and_free(exchange[random.below(exchange_slots)].exchange(block));
    if (random.below(5000) == 0) {
      std::thread([] { free(malloc(100)); }).join();
    }
    if (random.below(20000) == 0) {
      malloc_trim(0);
    }
  }
}

} // namespace

int main() {
  require_mete();
  std::thread threads[3];
  for (std::size_t i = 0; i < std::size(threads); ++i) {
    threads[i] = std::thread(churn, i + 1);
  }
  sleep_ms(4000);
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::atomic<block_header*>& slot : exchange) {
    check_and_free(slot.load());
  }
}
