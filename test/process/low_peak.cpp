// The peak stays low: memory that lies free but does not fit what is asked for is given back before
// more is taken. `argument` says which kind of free memory.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <vector>

namespace {

std::size_t peak_bytes() {
  return static_cast<std::size_t>(read_figure("/proc/self/status", "\nVmHWM:")) * kib;
}

char* allocate(std::size_t size) {
  auto* block = static_cast<char*>(malloc(size));
  CHECK(block != nullptr);
  std::memset(block, 1, size);
  return block;
}

void check_peak(std::size_t before, std::size_t most) {
  std::size_t grown = peak_bytes() - before;
  printf("peak %zu KiB above the start, at most %zu expected\n", grown / kib, most / kib);
  CHECK_LE(grown, most);
}

// Holes between live large blocks, and then larger blocks than fit into them.
void holes() {
  std::size_t before = resident_bytes();
  std::vector<char*> blocks;
  for (int i = 0; i < 48; ++i) {
    blocks.push_back(allocate(3 * mib / 2));
  }
  for (std::size_t i = 0; i < blocks.size(); i += 2) {
    free(blocks[i]);
    blocks[i] = nullptr;
  }
  for (int i = 0; i < 24; ++i) {
    blocks.push_back(allocate(2 * mib));
  }
  // 84 MiB live, 36 MiB in holes.
  check_peak(before, 84 * mib + 84 * mib / 5 + 4 * mib);
  for (char* block : blocks) {
    free(block);
  }
}

// Free pages among live small blocks, and then small blocks of another size.
void sparse_slabs() {
  std::size_t before = resident_bytes();
  std::vector<char*> kept;
  std::vector<char*> freed;
  for (std::size_t i = 0; i < 48 * mib / 512; ++i) {
    char* block = allocate(500);
    if (i % 100 == 0) {
      std::memset(block, static_cast<int>(kept.size() % 251), 500);
      kept.push_back(block);
    } else {
      freed.push_back(block);
    }
  }
  for (char* block : freed) {
    free(block);
  }
  for (std::size_t i = 0; i < 48 * mib / 1024; ++i) {
    kept.push_back(allocate(1000));
  }
  for (std::size_t i = 0; i < 48 * mib / 512 / 100; ++i) {
    CHECK_EQ(kept[i][0], static_cast<char>(i % 251));
    CHECK_EQ(std::memcmp(kept[i], kept[i] + 1, 499), 0);
  }
  // 48 MiB live, and of as many more those pages on which a block lives; the tables of the test.
  if (sysconf(_SC_PAGESIZE) == 4096) {
    check_peak(before, 76 * mib);
  }
  for (char* block : kept) {
    free(block);
  }
}

// One size, another, and the first again, whose pages were purged meanwhile: they may be used
// again, but then what the second left is not worth a higher peak.
void sizes_in_turn() {
  std::size_t before = resident_bytes();
  constexpr std::size_t most = 40 * mib;
  std::vector<char*> kept;
  for (std::size_t size : {500u, 1000u, 500u}) {
    std::vector<char*> blocks;
    blocks.reserve(most / size);
    while (blocks.size() < most / size) {
      blocks.push_back(allocate(size));
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (size == 500 && i % 100 == 0) {
        kept.push_back(blocks[i]);
      } else {
        free(blocks[i]);
      }
    }
  }
  // 40 MiB live, a sixth may be dirty, and those pages on which a block was kept stay.
  if (sysconf(_SC_PAGESIZE) == 4096) {
    check_peak(before, 64 * mib);
  }
  for (char* block : kept) {
    free(block);
  }
}

// One block that grows: its old places are not left lying about.
void growth() {
  std::size_t before = resident_bytes();
  auto* text = static_cast<char*>(malloc(64 * kib));
  std::memset(text, 7, 64 * kib);
  for (std::size_t size = 64 * kib; size < 64 * mib; size *= 2) {
    text = static_cast<char*>(realloc(text, 2 * size));
    CHECK(text != nullptr);
    CHECK_EQ(text[size - 1], 7);
    std::memset(text + size, 7, size);
  }
  check_peak(before, 66 * mib);
  free(text);
}

} // namespace

int main(int argc, char** argv) {
  require_mete();
  CHECK_EQ(argc, 2);
  stay_on_this_processor(); // whose heap is to use again what lies free
  std::string_view which = argv[1];
  if (which == "holes") {
    holes();
  } else if (which == "sparse_slabs") {
    sparse_slabs();
  } else if (which == "sizes_in_turn") {
    sizes_in_turn();
  } else {
    CHECK(which == "growth");
    growth();
  }
}
