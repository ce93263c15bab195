// Actors that change what the others live in: limits on memory and an allocator's options, and
// signals whose handlers make processes.
//
// SPDX-License-Identifier: MIT
#include "soak.hpp"

#include <malloc.h>

namespace soak {

namespace {

class limits_actor final : public actor {
public:
  explicit limits_actor(std::uint64_t seed)
      : actor("limits", seed),
        set_option_(find_function<int(const char*, long long)>("mete_option_set")) {}

  void step() override {
    sleep_ms(static_cast<long>(random.below(400)));
    if (set_option_ != nullptr) {
      set_an_option();
    }
    if (random.below(3) == 0) {
      be_tight();
    }
  }

private:
  void set_an_option() {
    const struct {
      const char* name;
      long long values[3];
    } options[] = {
        {"decay_ms", {0, 20, 300}},
        {"dirty_limit", {0, 1 << 20, 64 << 20}},
        {"background", {0, 1, 1}},
        {"background_threshold", {0, 1 << 20, 4 << 20}},
        {"thread_cache_bytes", {0, 64 << 10, 1 << 20}},
        {"mapping_threshold", {2 << 20, 8 << 20, 32 << 20}},
    };
    const auto& chosen = options[random.below(std::size(options))];
    (void)set_option_(chosen.name, chosen.values[random.below(3)]);
  }

  // For some moments there is little more than what is in use.
  void be_tight() {
    pthread_rwlock_wrlock(&limits);
    ++tightness;
    const int kind = random.below(2) == 0 ? RLIMIT_AS : RLIMIT_DATA;
    const char* key = kind == RLIMIT_AS ? "\nVmSize:" : "\nVmData:";
    const long long used = read_figure("/proc/self/status", key);
    set_limit(kind, static_cast<rlim_t>(used) * kib + random.below(64) * mib);
    sleep_ms(static_cast<long>(random.below(150)));
    set_limit(kind, RLIM_INFINITY);
    ++tightness;
    pthread_rwlock_unlock(&limits);
  }

  int (*set_option_)(const char*, long long);
};

// Every 16th signal makes a process. _Fork(), because it is the one that a handler in a process
// with threads may call; run_alone() has the other.
void make_a_process(int) {
  const int saved = errno;
  const std::uint64_t number = ++progress->signals;
  if (number % 16 == 0) {
    const pid_t child = _Fork();
    if (child == 0) {
      lift_limits();
      if (number % 32 == 0) {
        execl("/bin/true", "true", static_cast<char*>(nullptr));
      }
      _exit(0);
    }
    while (child > 0 && waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  errno = saved;
}

// A process that crashes stays as it is until run.py has shown its stacks, and ends it.
void stay_for_the_debugger(int) {
  progress->crashed = static_cast<std::uint64_t>(getpid());
  for (;;) {
    pause();
  }
}

class signals_actor final : public actor {
public:
  signals_actor(std::uint64_t seed, actor* const* targets, std::size_t count)
      : actor("signals", seed), count_(count) {
    for (std::size_t index = 0; index < count; ++index) {
      targets_[index] = targets[index];
    }
  }

  void step() override {
    sleep_ms(static_cast<long>(random.below(8)));
    if (random.below(4) == 0) {
      kill(getpid(), SIGUSR1); // to whom it happens
    } else {
      pthread_kill(targets_[random.below(count_)]->thread(), SIGUSR1);
    }
  }

private:
  actor* targets_[16];
  std::size_t count_;
};

} // namespace

void handle_crashes() {
  struct sigaction action {};
  action.sa_handler = stay_for_the_debugger;
  for (const int each : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    sigaction(each, &action, nullptr);
  }
}

void handle_signals() {
  struct sigaction action {};
  action.sa_handler = make_a_process;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGALRM, &action, nullptr); // of children that live on
}

actor* make_limits_actor(std::uint64_t seed) {
  return new limits_actor(seed);
}

actor* make_signals_actor(std::uint64_t seed, actor* const* targets, std::size_t count) {
  return new signals_actor(seed, targets, count);
}

} // namespace soak
