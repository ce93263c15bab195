// 100,000 blocks of 1000 bytes, 90 % of them freed at random: then at most 40 % of the peak is
// resident, the whole program included; in a process with one thread at once, because nobody comes
// by after the last free, beside another thread (`argument`: "beside_thread") soon. With four
// blocks to a page, 0.9^4 = 66 % of the pages hold nothing and can go; list-based allocators keep
// them all.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <thread>

int main(int argc, char**) {
  require_mete();
  bool beside_thread = argc > 1;
  if (beside_thread) {
    std::thread([] {
      free(malloc(100));
      pause();
    }).detach();
    sleep_ms(20);
  }
  stay_on_this_processor(); // whose heap is to fill its holes
  constexpr std::size_t count = 100000;
  constexpr std::size_t size = 1000;
  static unsigned char* blocks[count];
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = static_cast<unsigned char*>(malloc(size));
    CHECK(blocks[i] != nullptr);
    std::memset(blocks[i], static_cast<int>(i % 251), size);
  }
  std::size_t peak = resident_bytes();
  random_source random{42};
  for (unsigned char*& block : blocks) {
    if (random.below(10) != 0) {
      free(block);
      block = nullptr;
    }
  }
  // A second is enough, but for a busy machine.
  std::size_t after = beside_thread ? await_resident(peak * 40 / 100).resident : resident_bytes();
  printf("resident: peak %zu KiB, after the frees %zu KiB, %.1f %%\n", peak / kib, after / kib,
         100.0 * static_cast<double>(after) / static_cast<double>(peak));
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(blocks[i] == nullptr ||
          all_bytes_are(blocks[i], size, static_cast<unsigned char>(i % 251)));
  }
  CHECK_LE(after * 100, peak * 40);

  // The holes can be filled again, without the process becoming larger than it was.
  for (std::size_t i = 0; i < count; ++i) {
    if (blocks[i] == nullptr) {
      blocks[i] = static_cast<unsigned char*>(malloc(size));
      CHECK(blocks[i] != nullptr);
      std::memset(blocks[i], static_cast<int>(i % 251), size);
    }
  }
  CHECK_LE(resident_bytes(), peak + peak / 20);
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(all_bytes_are(blocks[i], size, static_cast<unsigned char>(i % 251)));
    free(blocks[i]);
  }
}
