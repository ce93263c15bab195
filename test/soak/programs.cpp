// What the soak starts itself as: a program that allocates a little, and one with a single thread
// that forks in a signal handler, whatever that interrupts.
//
// SPDX-License-Identifier: MIT
#include "blocks.hpp"

#include <sys/time.h>

namespace soak {

namespace {

table own_progress{};

void fork_in_handler(int) {
  const int saved = errno;
  static int times = 0;
  ++times;
  const pid_t child = fork();
  if (child == 0) {
    if (times % 2 == 0) {
      execl("/bin/true", "true", static_cast<char*>(nullptr));
    }
    _exit(0);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child > 0 && status != 0) {
    _exit(3);
  }
  errno = saved;
}

} // namespace

int run_leaf() {
  random_source random{static_cast<std::uint64_t>(getpid())};
  progress = &own_progress;
  holder blocks;
  for (int times = 0; times < 3000; ++times) {
    blocks.step(random, true);
  }
  blocks.free_all();
  return 0;
}

// One thread and no other library's handlers: whatever fork interrupts in it, the child may exit or
// become a program. With a thread more, or such handlers, that is not promised, by no C library.
int run_alone() {
  progress = &own_progress;
  random_source random{static_cast<std::uint64_t>(getpid())};
  struct sigaction action {};
  action.sa_handler = fork_in_handler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  holder blocks;
  const double end = seconds_now() + 2;
  while (seconds_now() < end) {
    // One signal in each round: by the clock, they would leave no time for anything else where a
    // fork takes longer than their interval.
    const itimerval once{{0, 0}, {0, static_cast<suseconds_t>(1 + random.below(300))}};
    setitimer(ITIMER_REAL, &once, nullptr);
    for (int times = 0; times < 100; ++times) {
      blocks.step(random, true);
    }
  }
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  blocks.free_all();
  return 0;
}

} // namespace soak
