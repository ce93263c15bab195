// What a case of misuse stands on: a child of its own, a thread that is there before the case
// begins, neighbours, and the bounded number of ordinary calls after the wrong step.
//
// A child says how far it came in memory that it shares with its parent. So the parent can tell a
// case that was stopped by the wrong step itself from one that was stopped later, and both from one
// that is no case at all because it failed before the wrong step. What the child writes to standard
// error goes to a file in memory: a report counts as stopping, even if the program goes on.
//
// Between the steps of a case nothing allocates but the case, because any allocation could hand out
// again the block that the case is about.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "check.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

// --- The child ----------------------------------------------------------------------------------

enum class stage { before, wrong_step, afterwards };

struct progress {
  stage reached;
  bool reported; // something stood on standard error right after the wrong step
  bool defeated; // the wrong step ran, but did not get what it was after
};

inline progress* const in_child = static_cast<progress*>(
    mmap(nullptr, sizeof(progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

// A control case is the same case without its wrong step. It has to end well everywhere.
inline bool control = false;

// The step that is wrong. Each case has exactly one.
template <class Step>
void wrong(Step step) {
  in_child->reached = stage::wrong_step;
  if (!control)
    step();
  in_child->reported = lseek(STDERR_FILENO, 0, SEEK_CUR) > 0;
  in_child->reached = stage::afterwards;
}

enum class outcome { unnoticed, at_once, later, hangs, no_case };

// A case takes milliseconds; one that is still there after this hangs, which stops nothing.
constexpr unsigned case_limit_s = 10;

inline outcome judge(int status, bool wrote) {
  const bool at_once = in_child->reached == stage::wrong_step || in_child->reported;
  if (in_child->reached == stage::before)
    return outcome::no_case;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    return outcome::hangs;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || wrote)
    return at_once ? outcome::at_once : outcome::later;
  return in_child->defeated ? outcome::at_once : outcome::unnoticed;
}

template <class Body>
outcome run_case(Body body) {
  static const int messages = memfd_create("messages", MFD_CLOEXEC);
  CHECK_EQ(ftruncate(messages, 0), 0);
  CHECK_EQ(lseek(messages, 0, SEEK_SET), 0);
  *in_child = {};
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(messages, STDERR_FILENO);
    alarm(case_limit_s);
    body();
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) != child)
    CHECK_EQ(errno, EINTR);
  return judge(status, lseek(messages, 0, SEEK_END) > 0);
}

// --- What cases are made of ---------------------------------------------------------------------

// A thread that has allocated already. It does one piece of work, and then ends or stays.
class other_thread {
public:
  explicit other_thread(bool stays) : stays_(stays) {
    sem_init(&asked_, 0, 0);
    sem_init(&done_, 0, 0);
    CHECK_EQ(pthread_create(&thread_, nullptr, run, this), 0);
    wait(done_);
  }
  other_thread(const other_thread&) = delete;
  other_thread& operator=(const other_thread&) = delete;

  template <class Work>
  void does(Work work) {
    argument_ = &work;
    work_ = [](void* of_caller) { (*static_cast<Work*>(of_caller))(); };
    sem_post(&asked_);
    if (stays_)
      wait(done_);
    else
      CHECK_EQ(pthread_join(thread_, nullptr), 0);
  }

private:
  static void wait(sem_t& semaphore) {
    while (sem_wait(&semaphore) != 0)
      CHECK_EQ(errno, EINTR);
  }

  static void* run(void* of_creator) {
    other_thread& self = *static_cast<other_thread*>(of_creator);
    free(hide(malloc(16))); // what a thread's first allocation makes is made
    sem_post(&self.done_);
    wait(self.asked_);
    self.work_(self.argument_);
    if (!self.stays_)
      return nullptr;
    sem_post(&self.done_);
    for (;;)
      pause();
  }

  sem_t asked_;
  sem_t done_;
  pthread_t thread_{};
  void* argument_ = nullptr;
  void (*work_)(void*) = nullptr;
  bool stays_;
};

// Sixteen live blocks around the one that a case is about: its memory is not joined with free
// memory beside it and used for something else, and what is written past it hits them first.
inline std::array<char*, 16> neighbours;

template <class Allocate>
char* among_neighbours(std::size_t size, Allocate allocate) {
  char* block = nullptr;
  for (std::size_t i = 0; i < neighbours.size(); ++i) {
    neighbours[i] = static_cast<char*>(malloc(size));
    CHECK(neighbours[i] != nullptr);
    if (i == neighbours.size() / 2)
      block = static_cast<char*>(allocate(size));
  }
  CHECK(block != nullptr);
  return hide(block);
}

inline char* among_neighbours(std::size_t size) {
  return among_neighbours(size, malloc);
}

inline void free_neighbours() {
  for (char*& each : neighbours) {
    free(hide(each));
    each = nullptr;
  }
}

// What a program does after the wrong step: it frees the neighbours, and twice allocates blocks of
// the same size, uses their first bytes and frees them.
inline void go_on(std::size_t size) {
  constexpr std::size_t most = 100;
  const std::size_t count = size <= 5000 ? most : 10;
  free_neighbours();
  for (int round = 0; round < 2; ++round) {
    void* blocks[most];
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = hide(malloc(size));
      if (blocks[i] != nullptr)
        memset(blocks[i], 'n', size < 16 ? size : 16);
    }
    for (std::size_t i = 0; i < count; ++i)
      free(hide(blocks[i]));
  }
}
