// A library's fork handlers (fork_handlers_library.cpp) allocate, free and wait for a thread that
// does so: whatever the order in which libraries were loaded, and even if they run while mete
// prepares, nobody waits for ever, blocks keep their contents, and child and parent go on.
//
// Arguments: the number of forks, and the library's path if it is to be opened as a plugin; without
// a path the program is linked to it, or it is preloaded.
//
// SPDX-License-Identifier: MIT
#include "every_kind.hpp"
#include "process.hpp"

#include <thread>

namespace {

int (*handlers_count)();

void fork_once(int round) {
  void* const block = malloc(1000);
  std::memset(block, round, 1000);
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    alarm(60);
    CHECK_EQ(handlers_count(), round + 1);
    CHECK(all_bytes_are(block, 1000, static_cast<unsigned char>(round)));
    free(block);
    use_every_kind();
    std::thread(use_every_kind).join();
    _exit(0);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0); // 14 would be SIGALRM: a hang
  CHECK_EQ(handlers_count(), round + 1);
  free(block);
}

} // namespace

int main(int count, char** arguments) {
  require_mete();
  CHECK_GE(count, 2);
  void* where = RTLD_DEFAULT;
  if (count > 2) {
    where = dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL);
    if (where == nullptr) {
      check_failed(__FILE__, __LINE__, "dlopen: ", dlerror());
    }
  }
  handlers_count = find_function<int()>("fork_handlers_count", where);
  CHECK(handlers_count != nullptr);
  const int forks = std::atoi(arguments[1]);
  const double begin = seconds_now();
  for (int round = 0; round < forks; ++round) {
    fork_once(round);
  }
  printf("%d forks in %.2f s\n", forks, seconds_now() - begin);
}
