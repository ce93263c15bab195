// What the parts of the soak share: the table of progress, the actors, and the few locks that keep
// them away from what the C library itself cannot do.
//
// An actor is a thread with a place in the table, whose `step()` is called until the end. It says
// by its place that it goes on; run.py looks at the table from outside and reports who stands
// still. Children that live on have places of their own. Between steps an actor can be halted, for
// the quiet moments in which memory is measured.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "process.hpp"

#include <atomic>
#include <pthread.h>

namespace soak {

// One line of the table: who it is, and how often it went on. All zero: free. run.py reads it.
struct place {
  std::atomic<std::int32_t> pid;
  std::int32_t reserved;
  char name[32];
  std::atomic<std::uint64_t> steps;
};

struct table {
  static constexpr std::size_t place_count = 250;
  std::atomic<std::uint64_t> quiet_moments;
  std::atomic<std::uint64_t> quiet_resident; // bytes, at the last one
  std::atomic<std::uint64_t> refused;        // allocations, while a limit was tight
  std::atomic<std::uint64_t> forks;
  std::atomic<std::uint64_t> plugins;
  std::atomic<std::uint64_t> threads;
  std::atomic<std::uint64_t> signals;
  std::atomic<std::uint64_t> crashed; // the process that run.py has to look at before it is ended
  place places[place_count];
};
static_assert(sizeof(place) == 48 && sizeof(table) == 64 + 48 * table::place_count);

extern table* progress; // in memory that all processes and run.py share

place& take_place(const char* name);
void leave_place(place& place);
void leave_places_of(pid_t pid); // of a child that has ended

inline void go_on(place& place) {
  place.steps.fetch_add(1, std::memory_order_relaxed);
}

bool is_left_out(const char* name); // by SOAK_WITHOUT

class actor {
public:
  actor(const char* name, std::uint64_t seed) : random{seed}, name_(name) {}
  virtual ~actor() = default;
  actor(const actor&) = delete;
  actor& operator=(const actor&) = delete;

  virtual void step() = 0;
  virtual void rest() {} // before a quiet moment, and at the end: gives its memory back

  void start();
  void join();
  pthread_t thread() const { return thread_; }
  const char* name() const { return name_; }

protected:
  random_source random;
  place* own_place = nullptr;

private:
  static void* run(void* self);

  const char* name_;
  pthread_t thread_{};
};

// Halts all actors at the end of their steps, and lets them go on.
void halt_all(std::size_t count);
void release_all();
extern std::atomic<bool> stop;

// Held for reading by who starts programs, which begin under the limits of their parent, or uses
// what the C library aborts in without memory (thread-local variables of plugins); for writing
// while a limit is tight.
extern pthread_rwlock_t limits;
// Odd while a limit is tight. An allocation may fail only if it was, or became so meanwhile.
extern std::atomic<std::uint64_t> tightness;

// Held for reading around fork; for writing by who closes a plugin with fork handlers, because
// glibc does not keep a library that another thread's fork is about to call.
extern pthread_rwlock_t fork_handlers;

// Threads and processes of the soak start with these. fork_here() counts, and makes a child that
// may start programs: without its parent's limits.
pid_t fork_here();
bool start_thread(pthread_t& thread, void* (*body)(void*), void* argument);
void lift_limits();

// Waits for a child that has to succeed.
void expect_success(pid_t child, const char* what);

class reading {
public:
  explicit reading(pthread_rwlock_t& lock) : lock_(lock) { pthread_rwlock_rdlock(&lock_); }
  ~reading() { pthread_rwlock_unlock(&lock_); }
  reading(const reading&) = delete;
  reading& operator=(const reading&) = delete;

private:
  pthread_rwlock_t& lock_;
};

// The actors. `folder` is for files.
actor* make_allocating_actor(std::uint64_t seed);
actor* make_heaps_actor(std::uint64_t seed); // null where there are none
actor* make_threads_actor(std::uint64_t seed);
actor* make_streams_actor(std::uint64_t seed, const char* folder);
actor* make_names_actor(std::uint64_t seed);
actor* make_plugins_actor(std::uint64_t seed, const char* plugin, const char* folder);
actor* make_processes_actor(std::uint64_t seed);
actor* make_limits_actor(std::uint64_t seed);
actor* make_signals_actor(std::uint64_t seed, actor* const* targets, std::size_t count);

void handle_signals();
void handle_crashes(); // where run.py watches
// Programs that the soak starts itself as: one that allocates a little, and one with a single
// thread that forks in a signal handler.
int run_leaf();
int run_alone();

} // namespace soak
