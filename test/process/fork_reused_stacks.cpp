// fork() while another thread's pthread_create() takes a stack that glibc kept, and frees the
// thread-local blocks of the thread that had it before. The child's glibc does not know which of
// them are freed already, and frees them once more when it takes the stack again, or, by the code
// of the loader, when it keeps too many stacks and unmaps this one. glibc's malloc ends some
// children for that, too; but the program can do nothing about it, so mete lets it pass. The
// argument is the path of a library with such a block.
//
// SPDX-License-Identifier: MIT
#include "library_copies.hpp"
#include "process.hpp"

#include <pthread.h>

#include <atomic>

namespace {

constexpr int library_count = 40; // the more there are, the longer the moment in which to fork
constexpr int at_once = 3;

void (*use_block[library_count])();
std::atomic<bool> stop{false};

void* use_all(void*) {
  for (const auto& each : use_block) {
    each();
  }
  return nullptr;
}

void start_and_join(int count) {
  pthread_t threads[at_once];
  for (int i = 0; i < count; ++i) {
    CHECK_EQ(pthread_create(&threads[i], nullptr, use_all, nullptr), 0);
  }
  for (int i = 0; i < count; ++i) {
    CHECK_EQ(pthread_join(threads[i], nullptr), 0);
  }
}

// A thread whose stack alone is more than glibc keeps (40 MiB), so that it gives up the others.
// What it allocates itself must not take the place of what is freed twice: that nobody could tell.
void make_stacks_go() {
  pthread_attr_t attributes;
  CHECK_EQ(pthread_attr_init(&attributes), 0);
  CHECK_EQ(pthread_attr_setstacksize(&attributes, 64 * mib), 0);
  pthread_t thread;
  CHECK_EQ(pthread_create(
               &thread, &attributes, [](void*) -> void* { return nullptr; }, nullptr),
           0);
  CHECK_EQ(pthread_join(thread, nullptr), 0);
}

void have_blocks_for_a_thread() {
  for (std::size_t bytes = 256; bytes < 4096; bytes += bytes / 8) {
    free(malloc(bytes));
  }
}

void* reuse_stacks(void*) {
  while (!stop.load(std::memory_order_relaxed)) {
    start_and_join(1);
  }
  return nullptr;
}

void other_misuse_is_reported_in_a_child() {
  const child_result result = run_child([] {
    void* const block = malloc(100);
    free(block);
    free(hide(block));
  });
  CHECK(result.died_of(SIGABRT) && result.says("double free"));
}

} // namespace

int main(int count, char** arguments) {
  require_mete();
  CHECK_EQ(count, 2);
  library_copies copies(arguments[1], library_count);
  for (int i = 0; i < library_count; ++i) {
    use_block[i] = find_function<void()>("use_tls_block", copies.open_copy(i));
  }
  start_and_join(at_once);
  pthread_t other;
  CHECK_EQ(pthread_create(&other, nullptr, reuse_stacks, nullptr), 0);
  // It takes one of the first forks; blocks of MiB take their time, because they are cleared.
  bool takes_stacks = false;
  for (const time_t end = time(nullptr) + 3; time(nullptr) < end;) {
    takes_stacks = !takes_stacks;
    have_blocks_for_a_thread();
    const pid_t child = fork();
    CHECK_GE(child, 0);
    if (child == 0) {
      alarm(60);
      takes_stacks ? start_and_join(at_once) : make_stacks_go();
      _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
  }
  other_misuse_is_reported_in_a_child();
  stop = true;
  CHECK_EQ(pthread_join(other, nullptr), 0);
}
