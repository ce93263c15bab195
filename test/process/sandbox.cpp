// Sandboxes: filters of seccomp(2) that are put on while the program runs, and forbid system calls
// by killing the process, or by an error. What mete calls after the start is the list in
// docs/system-calls.md; a program with one thread needs less. What fails with an error is done
// without, and no block is lost or handed out twice because of it.
//
// `arguments`: the name of one case; none: all of them, each in a process of its own.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <atomic>
#include <functional>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <vector>

namespace {

// --- Filters ----------------------------------------------------------------------------------

using calls = std::vector<int>;

// What a program with one thread may need; what malloc of any library needs, too. Processors'
// caches need one call more.
calls short_list() {
  calls list = {SYS_read,      SYS_write,           SYS_exit,          SYS_exit_group,  SYS_mmap,
                SYS_munmap,    SYS_mprotect,        SYS_mremap,        SYS_madvise,     SYS_futex,
                SYS_nanosleep, SYS_clock_nanosleep, SYS_clock_gettime, SYS_rt_sigreturn};
  const char* options = getenv("METE_OPTIONS");
  if (options != nullptr && std::strstr(options, "cpu_caches=1") != nullptr) {
    list.push_back(SYS_membarrier);
  }
  return list;
}

// With threads of the program that end in the sandbox.
calls list_for_threads() {
  calls list = short_list();
  list.push_back(SYS_rt_sigprocmask);
  return list;
}

// The same, and the thread of mete's own.
calls long_list() {
  calls list = list_for_threads();
  for (int call : {SYS_membarrier, SYS_clone3, SYS_clone, SYS_set_robust_list, SYS_prctl}) {
    list.push_back(call);
  }
#if defined(SYS_rseq)
  list.push_back(SYS_rseq);
#endif
  return list;
}

constexpr unsigned kill_process = SECCOMP_RET_KILL_PROCESS;
constexpr unsigned fail(int error) {
  return SECCOMP_RET_ERRNO | static_cast<unsigned>(error);
}

// `listed` calls have one result, the others another. No allocation.
void install(const calls& listed, unsigned if_listed, unsigned otherwise) {
  static sock_filter filter[128];
  unsigned short length = 0;
  filter[length++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (int call : listed) {
    filter[length++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1);
    filter[length++] = BPF_STMT(BPF_RET | BPF_K, if_listed);
  }
  filter[length++] = BPF_STMT(BPF_RET | BPF_K, otherwise);
  sock_fprog program{length, filter};
  CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
    _exit(check_skipped);
  }
}

// --- Work -------------------------------------------------------------------------------------

void fill(char* block, std::size_t size, std::size_t seed) {
  std::memset(block, static_cast<int>(seed % 251), size);
}
void check(const char* block, std::size_t size, std::size_t seed) {
  CHECK(all_bytes_are(block, size, static_cast<unsigned char>(seed % 251)));
}

// Blocks of all kinds come and go; 20 MiB and more at once, so that memory has to be had and is
// given back.
void work(int rounds) {
  constexpr std::size_t count = 20000;
  auto** blocks = static_cast<char**>(malloc(count * sizeof(char*)));
  CHECK(blocks != nullptr);
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t size = 16 + i * 7 % 2000;
      blocks[i] = static_cast<char*>(malloc(size));
      CHECK(blocks[i] != nullptr);
      fill(blocks[i], size, i);
    }
    for (std::size_t i = 0; i < count; ++i) {
      check(blocks[i], 16 + i * 7 % 2000, i);
      free(blocks[i]);
    }
    auto* large = static_cast<char*>(malloc(40 << 20));
    CHECK(large != nullptr);
    fill(large, 1 << 20, 7);
    large = static_cast<char*>(realloc(large, 60 << 20));
    CHECK(large != nullptr);
    check(large, 1 << 20, 7);
    free(large);
    for (std::size_t size = 100000; size < 9000000; size *= 3) {
      auto* block = static_cast<char*>(calloc(1, size));
      CHECK(block != nullptr);
      check(block, size, 0);
      fill(block, size, 1);
      free(block);
    }
  }
  free(blocks);
}

// Four threads that exchange blocks, and a fifth that reaches into their heaps, while `enter` puts
// the filter on.
template <class Enter>
void work_in_threads(Enter enter) {
  constexpr int workers = 4;
  constexpr std::size_t places = 2000;
  static std::atomic<char*> exchange[places];
  static std::atomic<int> running;
  static std::atomic<int> started;
  static std::atomic<bool> entered;
  auto* collect = find_function<std::size_t()>("mete_collect");
  running = workers;
  std::vector<std::thread> threads;
  for (int number = 0; number < workers; ++number) {
    threads.emplace_back([number] {
      ++started;
      random_source random{static_cast<std::uint64_t>(number) + 1};
      for (int turn = 0; turn < 150000 || !entered; ++turn) {
        std::size_t size = random.size_between(4, 11);
        auto* block = static_cast<char*>(malloc(size));
        CHECK(block != nullptr);
        std::memcpy(block, &size, sizeof size);
        std::memset(block + sizeof size, static_cast<int>(size % 251), size - sizeof size);
        block = exchange[random.below(places)].exchange(block);
        if (block != nullptr) {
          std::memcpy(&size, block, sizeof size);
          CHECK(all_bytes_are(block + sizeof size, size - sizeof size,
                              static_cast<unsigned char>(size % 251)));
          free(block);
        }
      }
      --running;
    });
  }
  while (started < workers || (running == workers && exchange[places - 1] == nullptr)) {
  }
  // A thread that starts just now needs calls that a filter may forbid: so does mete's.
  const char* options = getenv("METE_OPTIONS");
  if (options == nullptr || std::strstr(options, "background=0") == nullptr) {
    (void)comes_true([] { return thread_count() == workers + 2; });
    sleep_ms(20);
  }
  enter();
  entered = true;
  while (running != 0) {
    work(1);
    if (collect != nullptr) {
      collect();
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  work(1);
}

// --- Cases ------------------------------------------------------------------------------------

[[noreturn]] void done() {
  const char text[] = "done\n";
  CHECK_EQ(write(2, text, sizeof text - 1), static_cast<ssize_t>(sizeof text - 1));
  _exit(0);
}

void alone_before_the_first_block(const calls& listed, unsigned if_listed, unsigned otherwise) {
  install(listed, if_listed, otherwise);
  work(3);
}

void alone(const calls& listed, unsigned if_listed, unsigned otherwise) {
  work(1);
  install(listed, if_listed, otherwise);
  work(3);
}

void threads(const calls& listed, unsigned if_listed, unsigned otherwise) {
  work_in_threads([&] { install(listed, if_listed, otherwise); });
}

// What the handler of a sandbox gets to see.
volatile sig_atomic_t trapped = 0;
void trap() {
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) { trapped = info->si_syscall; };
  CHECK_EQ(sigaction(SIGSYS, &action, nullptr), 0);
  work(1);
  install(short_list(), SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP);
  work(3);
  CHECK_EQ(trapped, 0);
}

// Only read, write and exit are left: what the thread has in its cache is served all the same.
void strict() {
  void* blocks[40];
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < std::size(blocks); ++i) {
      blocks[i] = malloc(16 + i % 8 * 40);
    }
    for (void* block : blocks) {
      free(block);
    }
  }
  CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), 0);
  for (int round = 0; round < 1000; ++round) {
    void* block = malloc(16 + static_cast<std::size_t>(round) % 8 * 40);
    std::memset(block, 1, 16);
    free(block);
  }
  const char text[] = "done\n";
  write(2, text, sizeof text - 1);
  syscall(SYS_exit, 0);
}

struct sandbox_case {
  std::string name;
  const char* options;
  std::function<void()> run;
};

std::vector<sandbox_case> all_cases() {
  std::vector<sandbox_case> cases = {
      {"kill, alone", "", [] { alone(short_list(), SECCOMP_RET_ALLOW, kill_process); }},
      {"kill, from the beginning", "",
       [] { alone_before_the_first_block(short_list(), SECCOMP_RET_ALLOW, kill_process); }},
      {"trap, alone", "", trap},
      {"others fail, also mete's thread", "background=2",
       [] { alone_before_the_first_block(short_list(), SECCOMP_RET_ALLOW, fail(EPERM)); }},
      {"clone fails for mete's thread", "background=2",
       [] {
         alone_before_the_first_block({SYS_clone3, SYS_clone}, fail(EPERM), SECCOMP_RET_ALLOW);
       }},
      {"strict", "", strict},
      {"kill, threads", "", [] { threads(long_list(), SECCOMP_RET_ALLOW, kill_process); }},
      {"kill, threads without membarrier and clone", "background=0,membarrier=0",
       [] { threads(list_for_threads(), SECCOMP_RET_ALLOW, kill_process); }},
  };
  for (int error : {EPERM, ENOSYS}) {
    std::string end = error == EPERM ? ", EPERM" : ", ENOSYS";
    cases.push_back({"others fail, alone" + end, "",
                     [=] { alone(short_list(), SECCOMP_RET_ALLOW, fail(error)); }});
    cases.push_back({"others fail, threads" + end, "",
                     [=] { threads(list_for_threads(), SECCOMP_RET_ALLOW, fail(error)); }});
    struct refused {
      const char* name;
      calls numbers;
    };
    for (const refused& each :
         {refused{"membarrier", {SYS_membarrier}}, refused{"rseq", {SYS_rseq}},
          refused{"futex", {SYS_futex}}, refused{"mprotect", {SYS_mprotect}},
          refused{"munmap", {SYS_munmap}}, refused{"mremap", {SYS_mremap}},
          refused{"madvise", {SYS_madvise}}, refused{"clone", {SYS_clone3, SYS_clone}},
          refused{"prctl", {SYS_prctl}}, refused{"sleep", {SYS_nanosleep, SYS_clock_nanosleep}},
          refused{"futex and sleep", {SYS_futex, SYS_nanosleep, SYS_clock_nanosleep}}}) {
      cases.push_back({std::string(each.name) + " fails, alone" + end, "",
                       [=] { alone(each.numbers, fail(error), SECCOMP_RET_ALLOW); }});
      // Joining threads needs futex.
      if (each.numbers[0] != SYS_futex) {
        cases.push_back({std::string(each.name) + " fails, threads" + end, "",
                         [=] { threads(each.numbers, fail(error), SECCOMP_RET_ALLOW); }});
      }
    }
  }
  return cases;
}

} // namespace

int main(int argc, char** argv) {
  // A child that is to put its filter on before its first block makes no list of cases.
  if (argc == 2 && std::strcmp(argv[1], "kill, from the beginning") == 0) {
    alone_before_the_first_block(short_list(), SECCOMP_RET_ALLOW, kill_process);
    done();
  }
  require_mete();
  for (const sandbox_case& each : all_cases()) {
    if (argc == 2) {
      if (each.name == argv[1]) {
        each.run();
        done();
      }
      continue;
    }
    child_result result = run_child(
        [&] {
          std::string options = each.options;
          if (const char* given = getenv("METE_OPTIONS"); given != nullptr) {
            options += std::string(",") + given;
          }
          setenv("METE_OPTIONS", options.c_str(), 1);
          execute_self(each.name.c_str());
        },
        100);
    if (result.exited_with(check_skipped)) {
      check_skip("this system has no filters for system calls");
    }
    if (!result.exited_with(0) || !result.says("done")) {
      describe(each.name.c_str(), result);
    }
    CHECK(result.exited_with(0) && result.says("done"));
  }
}
