// Running out of memory, and working again afterwards, under a limit: allocate until NULL with
// ENOMEM, free all, allocate again, for small, medium and large blocks in turn.
//
// Arguments: MiB, the kind of limit, and the kind of block to begin with.
//   exec     RLIMIT_AS from before the start, as by `ulimit -v`: at least half of it must be usable
//   data     RLIMIT_DATA set by the running process
//   running  RLIMIT_AS set by the running process, as a shell does for itself on `ulimit -v`. What
//            the allocator reserved before may still be used, and must be: it has used up the
//            limit, so that the process would have nothing left.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <string>
#include <sys/mman.h>
#include <thread>

namespace {

struct block_kind {
  const char* name;
  std::size_t smallest;
  std::size_t largest;
};

constexpr block_kind kinds[] = {
    {"small", 16, 2000}, {"medium", 40 * kib, 500 * kib}, {"large", 3 * mib, 6 * mib}};

// The blocks are chained through their own first bytes: a table would need memory too.
struct chained {
  chained* next;
  std::size_t size;
};

void free_all(chained* chain) {
  while (chain != nullptr) {
    chained* next = chain->next;
    CHECK(all_bytes_are(chain + 1, std::min<std::size_t>(chain->size - sizeof *chain, 64), 0x42));
    free(chain);
    chain = next;
  }
}

// Returns the bytes it got until NULL, or until `enough`. `strict`: more than the limit must fail.
std::size_t fill_memory(const block_kind& kind, std::size_t enough, bool strict) {
  random_source random{kind.largest};
  chained* chain = nullptr;
  std::size_t total = 0;
  while (total < enough) {
    std::size_t size =
        std::max(kind.smallest + random.below(kind.largest - kind.smallest), sizeof(chained));
    errno = 0;
    chained* block = static_cast<chained*>(malloc(size));
    if (block == nullptr) {
      CHECK_EQ(errno, ENOMEM);
      break;
    }
    std::memset(block, 0x42, size);
    block->next = chain;
    block->size = size;
    chain = block;
    total += size;
  }
  // With memory out, the other calls fail in the same way, and free still works.
  if (total < enough && strict) {
    errno = 0;
    CHECK_EQ(calloc(1, 64 * mib), nullptr);
    CHECK_EQ(errno, ENOMEM);
    if (chain != nullptr) {
      errno = 0;
      CHECK_EQ(realloc(chain, 64 * mib), nullptr);
      CHECK_EQ(errno, ENOMEM);
    }
  }
  free_all(chain);
  return total;
}

void works_again(bool with_thread) {
  for (std::size_t size = 1; size <= mib; size *= 2) {
    void* block = malloc(size);
    CHECK(block != nullptr);
    std::memset(block, 1, size);
    free(block);
  }
  if (with_thread) {
    std::thread([] { free(malloc(1000)); }).join();
  }
}

int find_kind(const char* name) {
  for (int i = 0; i < 3; ++i) {
    if (std::strcmp(kinds[i].name, name) == 0) {
      return i;
    }
  }
  check_failed(__FILE__, __LINE__, "kind of block: ", name);
}

[[noreturn]] void execute_under_limit(char** arguments, std::size_t limit) {
  CHECK_EQ(setenv("METE_TEST_LIMITED", "1", 1), 0);
  set_limit(RLIMIT_AS, limit);
  execv("/proc/self/exe", arguments);
  check_failed(__FILE__, __LINE__, "execv", "");
}

} // namespace

int main(int count, char** arguments) {
  require_mete();
  CHECK_EQ(count, 4);
  std::size_t limit = std::stoul(arguments[1]) * mib;
  std::string how = arguments[2];
  int first = find_kind(arguments[3]);
  if (how == "exec" && getenv("METE_TEST_LIMITED") == nullptr) {
    execute_under_limit(arguments, limit);
  }
  works_again(true);
  if (how == "exec") {
    // The program itself can still map memory and start threads (done above): the allocator has
    // not reserved everything for itself.
    void* own = mmap(nullptr, 4 * mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_NE(own, MAP_FAILED);
    munmap(own, 4 * mib);
  } else {
    set_limit(how == "data" ? RLIMIT_DATA : RLIMIT_AS, limit);
  }
  bool running = how == "running";
  std::size_t enough = running ? 2 * limit : PTRDIFF_MAX / 2;
  for (int round = 0; round < 4; ++round) {
    const block_kind& kind = kinds[(first + round) % 3];
    std::size_t got = fill_memory(kind, enough, !running);
    printf("%s limit of %zu MiB, %s blocks: %zu KiB\n", how.c_str(), limit / mib, kind.name,
           got / kib);
    works_again(!running); // a thread needs a stack, which is new address space
    // The first kind finds memory untouched; the others what the ones before gave back.
    CHECK_GE(got, round == 0 ? limit / 2 : limit / 4);
    CHECK(running || got <= limit);
  }
}
