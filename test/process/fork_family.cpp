// The other ways to a new process, with threads around: a child of a fork that forks, vfork and
// exec, posix_spawn, exec in place of a threaded process, system and popen, and blocks that
// descendants of the third generation free.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <spawn.h>
#include <thread>

extern char** environ;

namespace {

std::atomic<bool> stop{false};

void churn() {
  random_source random{7};
  while (!stop.load(std::memory_order_relaxed)) {
    free(malloc(random.size_between(3, 18)));
  }
}

void wait_for(pid_t child, int expected = 0) {
  int status = 0;
  CHECK_GE(child, 0);
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), expected);
}

// Each generation frees what the one before allocated, starts a thread, and forks the next.
void generations(int left, void* inherited) {
  free(inherited);
  void* small = malloc(100);
  void* medium = malloc(100 * kib);
  void* large = malloc(8 * mib);
  CHECK(small != nullptr && medium != nullptr && large != nullptr);
  std::memset(medium, left, 100 * kib);
  std::thread([small] { free(small); }).join();
  if (left > 0) {
    pid_t child = fork();
    if (child == 0) {
      alarm(30);
      CHECK(all_bytes_are(medium, 100 * kib, static_cast<unsigned char>(left)));
      free(large);
      generations(left - 1, medium);
      std::exit(0);
    }
    wait_for(child);
  }
  free(medium);
  free(large);
}

const char* self() {
  static char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  CHECK_GT(length, 0);
  return path;
}

void vfork_and_exec() {
  const char* path = self();
  pid_t child = vfork();
  if (child == 0) {
    execl(path, path, "leaf", static_cast<char*>(nullptr));
    _exit(99);
  }
  wait_for(child, 42);
}

void spawn() {
  char* arguments[] = {const_cast<char*>(self()), const_cast<char*>("leaf"), nullptr};
  pid_t child = 0;
  CHECK_EQ(posix_spawn(&child, self(), nullptr, nullptr, arguments, environ), 0);
  wait_for(child, 42);
}

void exec_from_threaded_child() {
  pid_t child = fork();
  if (child == 0) {
    std::thread(churn).detach();
    sleep_ms(1);
    execute_self("leaf");
  }
  wait_for(child, 42);
}

void shell() {
  CHECK_EQ(WEXITSTATUS(system("exit 7")), 7);
  FILE* pipe = popen("echo portion", "r");
  char text[32] = {};
  CHECK(pipe != nullptr && fgets(text, sizeof text, pipe) != nullptr);
  CHECK_EQ(std::strcmp(text, "portion\n"), 0);
  CHECK_EQ(pclose(pipe), 0);
}

} // namespace

int main(int count, char**) {
  require_mete(); // the leaf too: mete must have come through exec
  if (count > 1) {
    for (std::size_t size = 1; size < 4 * mib; size *= 2) {
      free(malloc(size));
    }
    return 42;
  }
  std::thread threads[2] = {std::thread(churn), std::thread(churn)};
  for (int round = 0; round < 10; ++round) {
    generations(6, malloc(50));
    vfork_and_exec();
    spawn();
    exec_from_threaded_child();
    shell();
  }
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
}
