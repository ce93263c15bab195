// A signal handler asks for the sizes of blocks, and resizes some, while the thread that it
// interrupts makes, resizes and frees mappings: it must not wait for a lock which that thread
// holds. And the other way round: it makes mappings, while the thread looks sizes up.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>

#include <csignal>
#include <ctime>

namespace {

constexpr std::size_t bytes = 3 * mib;
void* watched[4]; // of the handler alone
volatile sig_atomic_t handled = 0;

void use_mappings(int) {
  const int turn = handled % 4;
  for (void* block : watched) {
    CHECK_GE(malloc_usable_size(block), bytes);
  }
  if (void* const other = realloc(watched[turn], bytes + static_cast<std::size_t>(turn) * 64 * kib);
      other != nullptr) {
    watched[turn] = other;
  }
  free(malloc(bytes));
  handled = handled + 1;
}

timer_t start_timer(long interval_ns) {
  struct sigevent event {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  timer_t timer{};
  CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  const itimerspec times{{0, interval_ns}, {0, interval_ns}};
  CHECK_EQ(timer_settime(timer, 0, &times, nullptr), 0);
  return timer;
}

} // namespace

int main() {
  require_mete();
  alarm(60);
  for (void*& block : watched) {
    block = malloc(bytes);
  }
  struct sigaction action {};
  action.sa_handler = use_mappings;
  action.sa_flags = SA_RESTART;
  CHECK_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  const timer_t timer = start_timer(50'000);
  void* held[200] = {}; // so many that the table grows, and entries move
  for (const time_t end = time(nullptr) + 3; time(nullptr) < end;) {
    for (void*& block : held) {
      block = realloc(block, bytes);
      CHECK(block != nullptr);
    }
    for (void*& block : held) {
      block = realloc(block, 2 * bytes);
      CHECK_GE(malloc_usable_size(block), 2 * bytes);
    }
    for (void*& block : held) {
      free(block);
      block = nullptr;
    }
  }
  CHECK_EQ(timer_delete(timer), 0);
  CHECK_GT(handled, 100);
  for (void* block : watched) {
    free(block);
  }
}
