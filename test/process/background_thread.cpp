// The background purger: never in a process that has one thread, unless it is asked for, never in a
// small program, never when it is switched off. When it runs it does not disturb the process: no
// signals reach it, fork leaves it behind and the child gets its own when it needs one, and it ends
// with the last other thread.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <semaphore.h>
#include <thread>

namespace {

void burst(std::size_t bytes, std::size_t size = 60 * kib) {
  static void* blocks[800000];
  std::size_t count = bytes / (size + 64);
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(size);
    std::memset(blocks[i], 1, size);
  }
  for (std::size_t i = 0; i < count; ++i) {
    free(blocks[i]);
  }
}

void small_program_stays_alone() {
  for (int i = 0; i < 20; ++i) {
    burst(640 * kib);
    CHECK_EQ(thread_count(), 1);
    sleep_ms(50);
  }
  CHECK_EQ(thread_count(), 1);
}

// True if the process has one thread: then this changes nothing, else it fails with EINVAL.
bool may_unshare() {
  return unshare(CLONE_VM) == 0;
}

// As sandboxes and container runtimes do, and Python looks at when it forks.
void large_program_stays_alone() {
  std::size_t before = resident_bytes();
  for (std::size_t size : size_list{400, std::size_t{60} * kib, 3 * mib}) {
    burst(200 * mib, size);
    CHECK(may_unshare());
    CHECK_EQ(thread_count(), 1);
    CHECK_LE(resident_bytes(), before + 16 * mib);
  }
  child_result child = run_child([] {
    burst(200 * mib);
    CHECK(may_unshare());
  });
  CHECK(child.exited_with(0));
  CHECK(may_unshare());
}

bool becomes_true(bool (*condition)()) {
  for (int tries = 0; tries < 6000; ++tries) {
    if (condition()) {
      return true;
    }
    sleep_ms(10);
  }
  return false;
}

// While a second thread lives that has allocated, there is a third; then there is one again.
void threads_come_and_go() {
  static sem_t wake;
  sem_init(&wake, 0, 0);
  std::thread sleeper([] {
    free(malloc(1000));
    sem_wait(&wake);
  });
  CHECK(becomes_true([] {
    burst(20 * mib);
    return thread_count() == 3;
  }));
  sem_post(&wake);
  sleeper.join();
  CHECK(becomes_true(may_unshare));
  burst(300 * mib);
  CHECK(may_unshare());

  // What a thread frees goes back although it ends at once, and nobody comes by any more.
  std::size_t before = resident_bytes();
  std::thread([] { burst(300 * mib); }).join();
  CHECK(becomes_true(may_unshare));
  CHECK_LE(resident_bytes(), before + 16 * mib);
}

void switched_off() {
  burst(300 * mib);
  for (int i = 0; i < 20; ++i) {
    CHECK_EQ(thread_count(), 1);
    sleep_ms(50);
  }
}

volatile sig_atomic_t signals = 0;
volatile pid_t handler_thread = 0;

void idle_process_shrinks() {
  std::size_t before = resident_bytes();
  burst(300 * mib);
  CHECK_LE(await_resident(before + 16 * mib).resident, before + 16 * mib);
}

// A signal sent to the process must be handled by a thread of the program.
void signals_go_to_the_program() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    signals = signals + 1;
    handler_thread = gettid();
  };
  sigaction(SIGUSR1, &action, nullptr);
  burst(300 * mib);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr); // the purger, if any, would be the only taker
  kill(getpid(), SIGUSR1);
  sleep_ms(50);
  CHECK_EQ(signals, 0);
  pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  CHECK(comes_true([] { return signals != 0; }));
  CHECK_EQ(signals, 1);
  CHECK_EQ(handler_thread, getpid());
}

void child_of_a_fork_shrinks_too() {
  child_result result = run_child(idle_process_shrinks);
  if (!result.exited_with(0)) {
    describe("child of a fork", result);
  }
  CHECK(result.exited_with(0));
}

void run_self(const char* options, const char* part) {
  child_result result = run_child([=] {
    setenv("METE_OPTIONS", options, 1);
    execute_self(part);
  });
  if (!result.exited_with(0)) {
    describe(part, result);
  }
  CHECK(result.exited_with(0));
}

void always() {
  burst(300 * mib);
  CHECK(becomes_true([] { return thread_count() == 2; }));
  signals_go_to_the_program();
  idle_process_shrinks();
  child_of_a_fork_shrinks_too();
  idle_process_shrinks(); // and the parent goes on
}

struct part {
  const char* name;
  const char* options;
  void (*run)();
};
constexpr part parts[] = {{"small", "", small_program_stays_alone},
                          {"alone", "", large_program_stays_alone},
                          {"beside threads", "", threads_come_and_go},
                          {"off", "background=0", switched_off},
                          {"always", "background=2", always}};

} // namespace

int main(int count, char** arguments) {
  require_mete();
  for (const part& each : parts) {
    if (count == 1) {
      run_self(each.options, each.name);
    } else if (std::strcmp(arguments[1], each.name) == 0) {
      each.run();
    }
  }
}
