// Processes made past the C library's handlers: by the system call, and by _Fork(), from a program
// whose threads allocate all the time and whose background thread exists. The child allocates,
// frees blocks of other threads, starts threads, forks, executes, and gives memory back. (vfork and
// posix_spawn: fork_family.cpp.)
//
// What another thread had half done may be lost to such a child, but it never hangs, and its own
// blocks keep their contents.
//
// SPDX-License-Identifier: MIT
#include "every_kind.hpp"
#include "process.hpp"

#include <atomic>
#include <sys/syscall.h>
#include <thread>

namespace {

std::atomic<bool> stop{false};
std::atomic<void*> exchange[256];

void churn(std::uint64_t seed) {
  random_source random{seed};
  while (!stop.load(std::memory_order_relaxed)) {
    void* const block =
        malloc(random.below(300) == 0 ? random.size_between(16, 22) : random.size_between(3, 14));
    CHECK(block != nullptr);
    static_cast<char*>(block)[0] = 1;
    free(exchange[random.below(std::size(exchange))].exchange(block));
  }
}

pid_t clone_bare() {
  return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

// glibc 2.34.
pid_t fork_without_handlers() {
  static auto* const found = find_function<pid_t()>("_Fork");
  return found != nullptr ? found() : clone_bare();
}

void wait_for(pid_t child, int expected) {
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status)); // a hang would end by SIGALRM
  CHECK_EQ(WEXITSTATUS(status), expected);
}

template <class Make, class Body>
void run_in(Make make, Body body, int expected = 0) {
  const pid_t child = make();
  CHECK_GE(child, 0);
  if (child == 0) {
    alarm(60);
    body();
    _exit(expected);
  }
  wait_for(child, expected);
}

void live_as_child() {
  use_every_kind();
  for (std::atomic<void*>& slot : exchange) {
    free(slot.exchange(nullptr));
  }
  use_every_kind();
}

// Without threads: the C library's own lock of thread stacks may be held by a thread of the parent,
// mete's background thread among them, that was starting or ending.
void live_on_as_child() {
  live_as_child();
  run_in(fork, use_every_kind);
  run_in(clone_bare, use_every_kind);
  malloc_trim(0);
  use_every_kind();
}

template <class Make>
void among_threads(Make make, int rounds) {
  std::thread threads[] = {std::thread(churn, 1), std::thread(churn, 2), std::thread(churn, 3)};
  sleep_ms(5);
  for (int round = 0; round < rounds; ++round) {
    run_in(make, live_as_child);
    run_in(
        make, [] { execute_self("leaf"); }, 42);
    run_in(make, live_on_as_child);
  }
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  stop = false;
}

// The parent's other thread sleeps, so nothing is half done; but it has a background thread, which
// the child believes to have, too, unless it notices that it is a child.
template <class Make>
void memory_goes_back(Make make) {
  std::atomic<bool> done{false};
  std::thread sleeper([&] {
    free(malloc(100));
    while (!done) {
      sleep_ms(5);
    }
  });
  burst(100 * mib); // starts the background thread
  run_in(make, [] {
    std::thread sleeps([] {
      free(malloc(100));
      sleep_ms(60000);
    });
    const std::size_t before = resident_bytes();
    burst(300 * mib);
    for (int waited_ms = 0; resident_bytes() > before + 32 * mib; waited_ms += 50) {
      CHECK_LT(waited_ms, 30000);
      sleep_ms(50);
    }
    _exit(0);
  });
  done = true;
  sleeper.join();
}

} // namespace

int main(int count, char**) {
  require_mete();
  if (count > 1) {
    use_every_kind();
    return 42;
  }
  run_in(clone_bare, [] { // from a program with one thread
    live_on_as_child();
    std::thread threads[] = {std::thread(live_on_as_child), std::thread(use_every_kind)};
    for (std::thread& thread : threads) {
      thread.join();
    }
  });
  memory_goes_back(clone_bare);
  memory_goes_back(fork);
  among_threads(clone_bare, 8);
  among_threads(fork_without_handlers, 8);
}
