// No two live blocks overlap: a random history of every allocating call, with contents checked at
// each free and all live blocks sorted by address and compared now and then.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <algorithm>
#include <malloc.h>

namespace {

struct live_block {
  char* address;
  std::size_t size; // usable
};

constexpr std::size_t slots = 6000;
live_block live[slots];
live_block sorted[slots];

unsigned char mark_of(std::size_t slot) {
  return static_cast<unsigned char>(slot % 251 + 1);
}

void check_marks(std::size_t slot) {
  CHECK(all_bytes_are(live[slot].address, live[slot].size, mark_of(slot)));
}

void* allocate(random_source& random) {
  std::size_t size =
      random.below(1000) == 0 ? random.size_between(16, 23) : random.size_between(0, 14);
  switch (random.below(6)) {
  case 0:
    return calloc(1, size);
  case 1:
    return aligned_alloc(std::size_t{1} << random.below(14), size);
  case 2:
    return ::operator new(size);
  default:
    return malloc(size);
  }
}

void replace(std::size_t slot, random_source& random) {
  live_block& block = live[slot];
  if (block.address != nullptr) {
    check_marks(slot);
    if (random.below(5) == 0) {
      std::size_t size = random.size_between(0, 15);
      std::size_t kept = std::min(size, block.size);
      block.address = static_cast<char*>(realloc(block.address, size));
      CHECK(block.address != nullptr);
      CHECK(all_bytes_are(block.address, kept, mark_of(slot)));
    } else {
      free(block.address);
      block.address = nullptr;
    }
  }
  if (block.address == nullptr) {
    block.address = static_cast<char*>(allocate(random));
  }
  CHECK(block.address != nullptr && is_aligned(block.address, 16));
  block.size = malloc_usable_size(block.address);
  std::memset(block.address, mark_of(slot), block.size);
}

void check_disjoint() {
  std::copy(std::begin(live), std::end(live), std::begin(sorted));
  std::sort(std::begin(sorted), std::end(sorted),
            [](const live_block& a, const live_block& b) { return a.address < b.address; });
  for (std::size_t i = 1; i < slots; ++i) {
    if (sorted[i - 1].address != nullptr) {
      CHECK_LE(sorted[i - 1].address + sorted[i - 1].size, sorted[i].address);
    }
  }
}

} // namespace

int main() {
  require_mete();
  random_source random{20240607};
  for (int step = 0; step < 400000; ++step) {
    replace(random.below(slots), random);
    if (step % 20000 == 19999) {
      check_disjoint();
    }
  }
  for (std::size_t slot = 0; slot < slots; ++slot) {
    if (live[slot].address != nullptr) {
      check_marks(slot);
      free(live[slot].address);
    }
  }
}
