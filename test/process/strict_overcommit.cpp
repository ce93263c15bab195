// vm.overcommit_memory=2: the kernel counts every writable mapping against a limit, so an allocator
// that reserves much must reserve it without access. The setting is the whole machine's: it is
// changed only where that is safe for the others, for as short as possible, and a process of its
// own puts it back whatever becomes of this one.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <string>

namespace {

const char* const setting = "/proc/sys/vm/overcommit_memory";

bool write_setting(const std::string& value) {
  int file = open(setting, O_WRONLY | O_CLOEXEC);
  bool written = file >= 0 && write(file, value.data(), value.size()) > 0;
  if (file >= 0) {
    close(file);
  }
  return written;
}

void live() {
  void* blocks[2000];
  for (int round = 0; round < 3; ++round) {
    random_source random{1};
    for (void*& block : blocks) {
      std::size_t size = random.size_between(3, 16);
      block = malloc(size);
      CHECK(block != nullptr);
      std::memset(block, 1, size);
    }
    free(malloc(100 * mib));
    for (void* block : blocks) {
      free(block);
    }
  }
  pid_t child = fork(); // must not need the commit charge of the whole reservation twice
  CHECK_GE(child, 0);
  if (child == 0) {
    free(malloc(mib));
    _exit(0);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

} // namespace

int main(int count, char**) {
  require_mete();
  if (count > 1) {
    live();
    return 0;
  }
  char before[16];
  CHECK_GT(read_text(setting, before, sizeof before), 0);
  long long commit_limit = read_figure("/proc/meminfo", "\nCommitLimit:");
  long long committed = read_figure("/proc/meminfo", "\nCommitted_AS:");
  if (committed + 1024 * 1024 > commit_limit) {
    check_skip("vm.overcommit_memory=2 would make other programs of this machine fail: as much is "
               "committed already as the limit would allow");
  }
  if (!write_setting("2")) {
    check_skip("vm.overcommit_memory cannot be set here (needs root and a writable /proc/sys)");
  }
  int lifeline[2];
  CHECK_EQ(pipe2(lifeline, O_CLOEXEC), 0);
  pid_t restorer = fork();
  if (restorer == 0) {
    char nothing;
    close(lifeline[1]);
    alarm(30);
    signal(SIGALRM, [](int) {
      write_setting("0");
      _exit(1);
    });
    [[maybe_unused]] ssize_t ended = read(lifeline[0], &nothing, 1); // the end of the test
    _exit(write_setting(before) ? 0 : 1);
  }
  child_result result = run_child([] { execute_self("live"); }, 20);
  close(lifeline[1]);
  int status = 1;
  waitpid(restorer, &status, 0);
  CHECK_EQ(status, 0);
  if (!result.exited_with(0)) {
    describe("under vm.overcommit_memory=2", result);
  }
  CHECK(result.exited_with(0));
}
