// A program that does, for as long as it is told, what programs do to an allocator: threads that
// allocate, hand over, end and start; streams, names, plugins; signals, limits, fork in every way,
// children that live on. It knows nothing of mete: run on the C library's malloc it has to pass,
// too. Random for a seed.
//
//   soak --seconds N --seed N --folder DIR --table FILE --plugin FILE
//                                SOAK_WITHOUT=NAME,... in the environment leaves actors out
//   soak --leaf | --alone        what it starts itself as
//
// run.py starts it, watches the table and ends it; script/soak builds and starts run.py.
//
// SPDX-License-Identifier: MIT
#include "blocks.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>

namespace soak {

table* progress = nullptr;
std::atomic<bool> stop{false};
std::atomic<std::uint64_t> tightness{0};
pthread_rwlock_t limits = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
pthread_rwlock_t fork_handlers = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

namespace {

std::atomic<bool> halting{false};
std::atomic<std::size_t> halted{0};

} // namespace

bool is_left_out(const char* name) {
  const char* names = getenv("SOAK_WITHOUT");
  return names != nullptr && std::strstr(names, name) != nullptr;
}

place& take_place(const char* name) {
  for (place& each : progress->places) {
    std::int32_t free_place = 0;
    if (each.pid.compare_exchange_strong(free_place, getpid())) {
      each.steps = 0;
      snprintf(each.name, sizeof each.name, "%s", name);
      return each;
    }
  }
  check_failed(__FILE__, __LINE__, "the table of progress has room", "");
}

void leave_place(place& place) {
  place.pid = 0;
}

void leave_places_of(pid_t pid) {
  for (place& each : progress->places) {
    std::int32_t its = pid;
    each.pid.compare_exchange_strong(its, 0);
  }
}

void* actor::run(void* self) {
  actor& it = *static_cast<actor*>(self);
  it.own_place = &take_place(it.name_);
  while (!stop.load(std::memory_order_relaxed)) {
    it.step();
    go_on(*it.own_place);
    if (halting) {
      it.rest();
      ++halted;
      while (halting) {
        sleep_ms(2);
        go_on(*it.own_place);
      }
      --halted;
    }
  }
  it.rest();
  leave_place(*it.own_place);
  return nullptr;
}

void actor::start() {
  CHECK(start_thread(thread_, run, this));
}

void actor::join() {
  CHECK_EQ(pthread_join(thread_, nullptr), 0);
}

void halt_all(std::size_t count) {
  halting = true;
  while (halted != count) {
    sleep_ms(2);
  }
}

void release_all() {
  halting = false;
  while (halted != 0) {
    sleep_ms(2);
  }
}

bool start_thread(pthread_t& thread, void* (*body)(void*), void* argument) {
  const int error = pthread_create(&thread, nullptr, body, argument);
  CHECK(error == 0 || error == EAGAIN || error == ENOMEM);
  progress->threads += error == 0;
  return error == 0;
}

pid_t fork_here() {
  pid_t child;
  pthread_rwlock_rdlock(&fork_handlers);
  child = fork();
  if (child == 0) {
    // Other threads of the parent may have been inside of these.
    fork_handlers = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
    limits = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
    lift_limits();
    return child;
  }
  pthread_rwlock_unlock(&fork_handlers);
  ++progress->forks;
  return child;
}

void lift_limits() {
  for (const int each : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    getrlimit(static_cast<__rlimit_resource>(each), &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(static_cast<__rlimit_resource>(each), &limit);
  }
  if (tightness.load() % 2 != 0) {
    ++tightness;
  }
}

void expect_success(pid_t child, const char* what) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    CHECK_EQ(errno, EINTR);
  }
  leave_places_of(child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    printf("%s, pid %d, %s %d\n", what, child,
           WIFSIGNALED(status) ? "was ended by signal" : "exited with",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    check_failed(__FILE__, __LINE__, "a child succeeds", "");
  }
}

namespace {

struct settings {
  double seconds = 10;
  std::uint64_t seed = 1;
  const char* folder = "/tmp";
  const char* table = nullptr;
  const char* plugin = nullptr;
};

settings parse(int count, char** arguments) {
  settings chosen;
  for (int index = 1; index + 1 < count; index += 2) {
    const char* value = arguments[index + 1];
    const auto is = [&](const char* name) { return std::strcmp(arguments[index], name) == 0; };
    if (is("--seconds")) {
      chosen.seconds = std::strtod(value, nullptr);
    } else if (is("--seed")) {
      chosen.seed = std::strtoull(value, nullptr, 0);
    } else if (is("--folder")) {
      chosen.folder = value;
    } else if (is("--table")) {
      chosen.table = value;
    } else if (is("--plugin")) {
      chosen.plugin = value;
    }
  }
  return chosen;
}

void map_table(const char* path) {
  int file = -1;
  int kind = MAP_SHARED | MAP_ANONYMOUS;
  if (path != nullptr) {
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_GE(file, 0);
    CHECK_EQ(ftruncate(file, sizeof(table)), 0);
    kind = MAP_SHARED;
  }
  void* where = mmap(nullptr, sizeof(table), PROT_READ | PROT_WRITE, kind, file, 0);
  CHECK(where != MAP_FAILED);
  progress = static_cast<table*>(where);
  if (file >= 0) {
    close(file);
  }
}

// All rest and hold nothing; what stays resident then must not grow from one time to the next.
void have_a_quiet_moment(std::size_t actors) {
  halt_all(actors);
  empty_the_exchange();
  malloc_trim(0);
  progress->quiet_resident = resident_bytes();
  ++progress->quiet_moments;
  release_all();
}

void soak_for(const settings& chosen) {
  random_source random{chosen.seed};
  actor* actors[16];
  std::size_t count = 0;
  const auto add = [&](actor* fresh) {
    if (fresh != nullptr && !is_left_out(fresh->name())) {
      actors[count++] = fresh;
    }
  };
  for (int index = 0; index < 3; ++index) {
    add(make_allocating_actor(random.next()));
  }
  add(make_threads_actor(random.next()));
  add(make_streams_actor(random.next(), chosen.folder));
  add(make_streams_actor(random.next(), chosen.folder));
  add(make_names_actor(random.next()));
  add(make_processes_actor(random.next()));
  add(make_processes_actor(random.next()));
  add(make_limits_actor(random.next()));
  add(make_heaps_actor(random.next()));
  if (chosen.plugin != nullptr) {
    add(make_plugins_actor(random.next(), chosen.plugin, chosen.folder));
  }
  add(make_signals_actor(random.next(), actors, count));
  for (std::size_t index = 0; index < count; ++index) {
    actors[index]->start();
  }

  place& own = take_place("main");
  const double begin = seconds_now();
  const double between = chosen.seconds < 120 ? 4 : 20; // quiet moments
  for (double next = begin + between; seconds_now() < begin + chosen.seconds;) {
    sleep_ms(50);
    go_on(own);
    if (seconds_now() >= next) {
      have_a_quiet_moment(count);
      next = seconds_now() + between;
    }
  }
  have_a_quiet_moment(count);
  stop = true;
  for (std::size_t index = count; index-- > 0;) { // the one that signals the others first
    actors[index]->join();
    delete actors[index];
  }
  leave_place(own);
}

} // namespace
} // namespace soak

int main(int count, char** arguments) {
  static char output[BUFSIZ];
  setvbuf(stdout, output, _IOLBF, sizeof output);
  if (count == 2 && std::strcmp(arguments[1], "--leaf") == 0) {
    return soak::run_leaf();
  }
  if (count == 2 && std::strcmp(arguments[1], "--alone") == 0) {
    return soak::run_alone();
  }
  const soak::settings chosen = soak::parse(count, arguments);
  soak::map_table(chosen.table);
  printf("seed %llu\n", static_cast<unsigned long long>(chosen.seed));
  soak::handle_signals();
  if (chosen.table != nullptr) {
    soak::handle_crashes();
  }
  soak::soak_for(chosen);
  puts("ok");
}
