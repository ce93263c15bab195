// fork() in a signal handler that interrupts the program anywhere, inside of malloc too. The child
// exits, executes a program, or returns from the handler and goes on where it was interrupted. One
// thread (argument one_thread), or three that allocate all the time (threads).
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <sys/time.h>
#include <thread>

namespace {

constexpr int forks_wanted = 240;

std::atomic<int> forks{0};
volatile sig_atomic_t is_child = 0;

// waitpid() must not be interrupted for ever by the timer.
void wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) != child) {
    CHECK_EQ(errno, EINTR);
  }
  CHECK_EQ(status, 0); // 14 would be SIGALRM: a hang
}

void fork_here(int) {
  const int saved_errno = errno;
  if (is_child != 0 || forks.load() >= forks_wanted) {
    return;
  }
  const int turn = forks.fetch_add(1);
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    is_child = 1;
    alarm(60);
    switch (turn % 3) {
    case 0:
      _exit(0);
    case 1:
      execl("/bin/true", "true", static_cast<char*>(nullptr));
      _exit(99);
    default:
      break;
    }
  } else {
    wait_for(child);
  }
  errno = saved_errno;
}

// A table of blocks that are replaced at random, with their contents checked.
class churn {
public:
  explicit churn(std::uint64_t seed) : random_{seed} {}

  void replace(int times) {
    for (int i = 0; i < times; ++i) {
      entry& e = entries_[random_.below(std::size(entries_))];
      if (e.block != nullptr) {
        CHECK_EQ(e.block[0], e.value);
        CHECK_EQ(e.block[e.size - 1], e.value);
      }
      free(e.block);
      e.size = random_.below(50) == 0 ? random_.size_between(16, 22) : 1 + random_.below(3000);
      e.value = static_cast<char>(i);
      e.block = static_cast<char*>(malloc(e.size));
      CHECK(e.block != nullptr);
      e.block[0] = e.block[e.size - 1] = e.value;
    }
  }

private:
  struct entry {
    char* block = nullptr;
    std::size_t size = 0;
    char value = 0;
  };
  random_source random_;
  entry entries_[1009];
};

void work(std::uint64_t seed, bool alone) {
  static thread_local churn* mine = new churn{seed};
  while (forks.load() < forks_wanted) {
    mine->replace(100);
    if (is_child != 0) {
      if (alone) { // nothing was half done by anybody else: it can live on
        mine->replace(20000);
        std::thread([] { free(malloc(100)); }).join();
      }
      _exit(0);
    }
  }
}

} // namespace

int main(int count, char** arguments) {
  require_mete();
  CHECK_EQ(count, 2);
  const bool alone = std::strcmp(arguments[1], "one_thread") == 0;
  struct sigaction action {};
  action.sa_handler = fork_here;
  sigaction(SIGPROF, &action, nullptr);
  if (!alone) { // of any thread, while it uses a processor
    std::thread threads[] = {std::thread(work, 1, false), std::thread(work, 2, false),
                             std::thread(work, 3, false)};
    const pthread_t handles[] = {threads[0].native_handle(), threads[1].native_handle(),
                                 threads[2].native_handle()};
    while (forks.load() < forks_wanted) {
      for (const pthread_t each : handles) {
        pthread_kill(each, SIGPROF);
      }
      sleep_ms(3);
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    return 0;
  }
  const itimerval every{{0, 3000}, {0, 3000}};
  CHECK_EQ(setitimer(ITIMER_PROF, &every, nullptr), 0);
  work(1, true);
}
