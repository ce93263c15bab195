// The functions that tell about the heap or tune it: mallinfo, mallinfo2, malloc_info,
// malloc_stats, mallopt, malloc_trim, malloc_good_size. Figures are checked for being plausible
// and for following what the program does, malloc_info for being well-formed XML of glibc's kind.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <malloc.h>
#include <thread>

namespace {

std::size_t used_bytes() {
  struct mallinfo2 info = mallinfo2();
  CHECK_GE(info.arena + info.hblkhd, info.uordblks);
  return info.uordblks + info.hblkhd;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
void old_figures_agree() {
  struct mallinfo old = mallinfo();
  struct mallinfo2 now = mallinfo2();
  CHECK_LT(llabs(static_cast<long long>(now.uordblks) - old.uordblks), mib);
  CHECK_LT(llabs(static_cast<long long>(now.arena) - old.arena), 4 * mib);
}
#pragma GCC diagnostic pop

// glibc counts blocks with a mapping of their own in hblkhd only; where the line is drawn is the
// allocator's business, so the sum is compared.
void figures_follow(std::size_t size, std::size_t count, bool freed_by_other_thread) {
  static void* blocks[100000];
  std::size_t before = used_bytes();
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(size);
    CHECK(blocks[i] != nullptr);
  }
  CHECK_GE(used_bytes(), before + size * count * 9 / 10);
  CHECK_LE(used_bytes(), before + size * count * 3 / 2 + mib);
  old_figures_agree();
  const auto free_all = [count] {
    for (std::size_t i = 0; i < count; ++i) {
      free(blocks[i]);
    }
  };
  if (freed_by_other_thread) {
    std::thread(free_all).join();
  } else {
    free_all();
  }
  CHECK_LE(used_bytes(), before + size * count / 10 + mib);
}

void options_are_accepted() {
  CHECK_EQ(mallopt(M_MXFAST, 64), 1);
  CHECK_EQ(mallopt(M_TRIM_THRESHOLD, 256 * 1024), 1);
  CHECK_EQ(mallopt(M_TOP_PAD, 64 * 1024), 1);
  CHECK_EQ(mallopt(M_MMAP_THRESHOLD, 1024 * 1024), 1);
  CHECK_EQ(mallopt(M_MMAP_MAX, 1000), 1);
  CHECK_EQ(mallopt(M_CHECK_ACTION, 3), 1);
  CHECK_EQ(mallopt(M_PERTURB, 0), 1);
  CHECK_EQ(mallopt(M_ARENA_TEST, 2), 1);
  CHECK_EQ(mallopt(M_ARENA_MAX, 2), 1);
}

// Every start tag has its end tag, in order; returns the number of elements, -1 if not so.
int count_elements(const char* text) {
  const char* open[32];
  int depth = 0;
  int elements = 0;
  for (const char* tag = std::strchr(text, '<'); tag != nullptr; tag = std::strchr(tag + 1, '<')) {
    const char* end = std::strchr(tag, '>');
    std::size_t name = end == nullptr ? 0 : std::strcspn(tag + 1, " />");
    if (end == nullptr) {
      return -1;
    }
    if (tag[1] == '/') {
      std::size_t closing = static_cast<std::size_t>(end - tag) - 2;
      if (depth == 0 || std::strncmp(open[--depth], tag + 2, closing) != 0 ||
          std::strchr(" >", open[depth][closing]) == nullptr) {
        return -1;
      }
    } else {
      ++elements;
      if (end[-1] != '/' && (name == 0 || depth == 32 || (open[depth++] = tag + 1) == nullptr)) {
        return -1;
      }
    }
  }
  return depth == 0 ? elements : -1;
}

void description_is_xml() {
  CHECK_EQ(count_elements("<a><b x=\"1\"/></a>"), 2); // the checker is checked
  CHECK_EQ(count_elements("<a><b></a></b>"), -1);
  CHECK_EQ(count_elements("<a>"), -1);
  static char text[256 * 1024];
  FILE* stream = fmemopen(text, sizeof text, "w");
  CHECK(stream != nullptr);
  CHECK_EQ(malloc_info(0, stream), 0);
  fclose(stream);
  CHECK(std::strncmp(text, "<malloc version=\"1\">", 20) == 0);
  CHECK_GE(count_elements(text), 6);
  for (const char* part : {"<heap nr=\"0\">", "<total type=\"fast\"", "<total type=\"rest\"",
                           "<system type=\"current\"", "<system type=\"max\"",
                           "<aspace type=\"total\"", "<aspace type=\"mprotect\"", "</malloc>"}) {
    if (std::strstr(text, part) == nullptr) {
      check_failed(__FILE__, __LINE__, "malloc_info has the part", part);
    }
  }
  CHECK_EQ(malloc_info(1, stdout), EINVAL);
}

void statistics_go_to_standard_error() {
  child_result result = run_child([] { malloc_stats(); });
  CHECK(result.exited_with(0));
  CHECK_GE(result.lines_with(""), 3);
}

void good_sizes_are_what_one_gets() {
  auto* good_size = find_function<std::size_t(std::size_t)>("malloc_good_size");
  if (good_size == nullptr && check_any_allocator()) {
    return;
  }
  CHECK(good_size != nullptr);
  for (std::size_t size = 0; size < 4 * mib; size += size < 5000 ? 1 : size / 10) {
    void* block = malloc(size);
    CHECK_GE(good_size(size), size);
    CHECK_GE(malloc_usable_size(block), good_size(size));
    CHECK_EQ(good_size(good_size(size)), good_size(size));
    free(block);
  }
}

// One look takes a while where there are many threads, and what goes from one of them to another
// meanwhile may be counted twice. No figure may become negative (that is, huge) by that.
void figures_are_not_negative_while_memory_changes_hands() {
  constexpr std::size_t block_bytes = 32 * kib;
  constexpr std::size_t total = 6 * mib;
  static void* blocks[2][total / block_bytes];
  static std::atomic<bool> stop{false};
  static std::atomic<int> turn{0};
  const auto take_turns = [](int mine) {
    for (void*& block : blocks[mine])
      block = nullptr;
    while (!stop) {
      if (turn != mine)
        continue;
      for (void*& block : blocks[mine])
        block = malloc(block_bytes);
      for (void*& block : blocks[mine])
        free(block);
      turn = 1 - mine;
    }
  };
  std::thread first(take_turns, 0);
  std::thread others[60];
  for (std::thread& other : others)
    other = std::thread([] {
      free(malloc(100));
      while (!stop)
        sleep_ms(10);
    });
  std::thread last(take_turns, 1);
  const double end = seconds_now() + 1;
  int looks = 0;
  for (; seconds_now() < end; ++looks) {
    const struct mallinfo2 info = mallinfo2();
    CHECK_LE(info.fordblks, info.arena);
    CHECK_LE(info.uordblks, std::size_t{1} << 40);
    CHECK_LE(info.keepcost, std::size_t{1} << 40);
  }
  stop = true;
  first.join();
  last.join();
  for (std::thread& other : others)
    other.join();
  CHECK_GT(looks, 10);
}

} // namespace

int main() {
  require_mete();
  // First: what was committed for the others would hide a figure that is too large.
  figures_are_not_negative_while_memory_changes_hands();
  for (bool freed_by_other_thread : {false, true}) {
    figures_follow(100, 100000, freed_by_other_thread);
    figures_follow(5000, 2000, freed_by_other_thread);
    figures_follow(100 * kib, 200, freed_by_other_thread);
    figures_follow(20 * mib, 4, freed_by_other_thread);
    figures_follow(100 * mib, 2, freed_by_other_thread); // always with a mapping of its own
  }
  options_are_accepted();
  description_is_xml();
  statistics_go_to_standard_error();
  good_sizes_are_what_one_gets();
  int trimmed = malloc_trim(0);
  CHECK(trimmed == 0 || trimmed == 1);
}
