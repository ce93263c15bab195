// The actor that makes processes, in every way there is, and the children: some end at once, some
// become another program, some live on, start threads and have children themselves.
//
// SPDX-License-Identifier: MIT
#include "blocks.hpp"

#include <algorithm>
#include <malloc.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/time.h>

extern "C" int soak_library_is_there;
extern char** environ;

namespace soak {

namespace {

char self_path[] = "/proc/self/exe";

[[noreturn]] void become(const char* part) {
  char* arguments[] = {self_path, const_cast<char*>(part), nullptr};
  execv(self_path, arguments);
  _exit(127);
}

void* live_a_while(void* seed) {
  random_source random{reinterpret_cast<std::uintptr_t>(seed)};
  holder blocks;
  for (std::size_t times = random.below(5000); times > 0; --times) {
    blocks.step(random, false);
  }
  blocks.free_all();
  return nullptr;
}

// A child that goes on as a program would: threads, signals, memory given back, children.
[[noreturn]] void live_on(holder& inherited, random_source& random, int generation) {
  char name[32];
  snprintf(name, sizeof name, "child of generation %d", generation);
  place& own = take_place(name);
  if (random.below(3) == 0) {
    const itimerval every{{0, 3000}, {0, 3000}};
    setitimer(ITIMER_REAL, &every, nullptr); // its signals make processes, too
  }
  const std::size_t rounds = 1 + random.below(5);
  for (std::size_t round = 0; round < rounds; ++round) {
    pthread_t threads[3];
    std::size_t started = 0;
    while (started < std::size(threads) &&
           start_thread(threads[started], live_a_while, reinterpret_cast<void*>(random.next()))) {
      ++started;
    }
    for (int times = 0; times < 1000; ++times) {
      inherited.step(random, false);
    }
    go_on(own);
    if (generation < 3 && random.below(2) == 0) {
      const pid_t child = fork_here();
      if (child == 0) {
        live_on(inherited, random, generation + 1);
      }
      if (child > 0) {
        // It may have children that take as long as it does: this one waits by the second.
        int status = 0;
        pid_t ended;
        while ((ended = waitpid(child, &status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
          sleep_ms(5);
          go_on(own);
        }
        leave_places_of(child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
          printf("a grandchild, pid %d: status 0x%x\n", child, static_cast<unsigned>(status));
          _exit(1);
        }
      }
    }
    for (std::size_t index = 0; index < started; ++index) {
      pthread_join(threads[index], nullptr);
    }
    malloc_trim(0);
    sleep_ms(static_cast<long>(random.below(200)));
    go_on(own);
  }
  inherited.free_all();
  leave_place(own);
  _exit(0);
}

enum class child_kind { exits, becomes_a_program, checks, uses_all, lives_on };

[[noreturn]] void be_a_child(child_kind kind, holder& inherited, random_source& random) {
  random.state ^= static_cast<std::uint64_t>(getpid());
  switch (kind) {
  case child_kind::exits:
    break;
  case child_kind::becomes_a_program:
    become("--leaf");
  case child_kind::checks:
    inherited.check_all();
    break;
  case child_kind::uses_all:
    for (int times = 0; times < 2000; ++times) {
      inherited.step(random, false);
    }
    inherited.free_some(random);
    inherited.check_all();
    break;
  case child_kind::lives_on:
    live_on(inherited, random, 1);
  }
  _exit(0);
}

class processes_actor final : public actor {
public:
  explicit processes_actor(std::uint64_t seed) : actor("processes", seed) {}

  void step() override {
    for (int times = 0; times < 100; ++times) {
      blocks_.step(random, true);
    }
    for (pid_t& each : living_) {
      if (each != 0 && has_ended(each)) {
        expect_success(each, "a child that lived on");
        each = 0;
      }
    }
    switch (random.below(12)) {
    case 0:
      spawn("--leaf", false);
      break;
    case 1:
      leave_by_vfork();
      break;
    case 2:
      leave_by_clone();
      break;
    case 3: {
      const reading no_limit(limits);
      CHECK_EQ(system("exit 0"), 0);
      break;
    }
    case 4:
      if (random.below(10) == 0 && !is_left_out("alone")) {
        spawn("--alone", true);
      }
      break;
    default:
      fork_one();
    }
  }
  void rest() override {
    for (pid_t& each : living_) {
      if (each != 0) {
        await(each, "a child that lived on");
        each = 0;
      }
    }
    blocks_.free_all();
  }

private:
  void fork_one() {
    auto kind = static_cast<child_kind>(random.below(5));
    pid_t* place = std::find(std::begin(living_), std::end(living_), 0);
    if (kind == child_kind::lives_on && place == std::end(living_)) {
      kind = child_kind::checks;
    }
    const pid_t child = fork_here();
    if (child == 0) {
      be_a_child(kind, blocks_, random);
    }
    if (child < 0) {
      CHECK(errno == ENOMEM || errno == EAGAIN);
    } else if (kind == child_kind::lives_on) {
      *place = child;
    } else {
      await(child, "a child of fork");
    }
  }

  void spawn(const char* part, bool without_library) {
    const reading no_limit(limits);
    char* arguments[] = {self_path, const_cast<char*>(part), nullptr};
    char off[] = "SOAK_WITHOUT=library";
    char* environment[200];
    std::size_t count = 0;
    if (without_library) {
      environment[count++] = off; // of two, the first is found
    }
    for (char** each = environ; *each != nullptr && count < std::size(environment) - 1; ++each) {
      environment[count++] = *each;
    }
    environment[count] = nullptr;
    pid_t child = 0;
    CHECK_EQ(posix_spawn(&child, self_path, nullptr, nullptr, arguments, environment), 0);
    await(child, part);
  }

  void leave_by_vfork() {
    const reading no_limit(limits);
    const bool at_once = random.below(2) == 0;
    const pid_t child = vfork();
    if (child == 0) {
      if (at_once) {
        _exit(0);
      }
      execl("/bin/true", "true", static_cast<char*>(nullptr));
      _exit(127);
    }
    CHECK_GT(child, 0);
    await(child, "a child of vfork");
  }

  // No handler runs, so that the child may do nothing with memory.
  void leave_by_clone() {
    const reading no_limit(limits);
    const long child = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (child == 0) {
      syscall(SYS_exit_group, 0);
    }
    CHECK_GT(child, 0);
    await(static_cast<pid_t>(child), "a child of clone");
  }

  // While the child goes on, so does who waits for it: the child has a place of its own, or it is
  // short and has to end.
  void await(pid_t child, const char* what) {
    const double begin = seconds_now();
    while (!has_ended(child)) {
      sleep_ms(1);
      if (seconds_now() < begin + 5 || has_place(child)) {
        go_on(*own_place);
      }
    }
    expect_success(child, what);
  }

  static bool has_ended(pid_t child) {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
  }

  static bool has_place(pid_t pid) {
    for (const place& each : progress->places) {
      if (each.pid == pid) {
        return true;
      }
    }
    return false;
  }

  holder blocks_;
  pid_t living_[2] = {};
};

} // namespace

actor* make_processes_actor(std::uint64_t seed) {
  CHECK_EQ(soak_library_is_there, 1);
  return new processes_actor(seed);
}

} // namespace soak
