// The background purger: never in a small program, never when it is switched off, and when it runs
// it does not disturb the process: no signals reach it, fork leaves it behind and the child gets
// its own when it needs one.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

namespace {

void burst(std::size_t bytes) {
  static void* blocks[20000];
  std::size_t count = bytes / (64 * kib);
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(60 * kib);
    std::memset(blocks[i], 1, 60 * kib);
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

} // namespace

int main(int count, char** arguments) {
  bool mete = require_mete();
  if (count > 1) {
    std::strcmp(arguments[1], "off") == 0 ? switched_off() : small_program_stays_alone();
    return 0;
  }
  run_self("", "small");
  run_self("background=0", "off");
  signals_go_to_the_program();
  if (mete) {
    idle_process_shrinks();
    child_of_a_fork_shrinks_too();
    idle_process_shrinks(); // and the parent goes on
  }
}
