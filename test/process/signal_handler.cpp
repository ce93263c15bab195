// Allocation in signal handlers that run on a small alternate stack, for signals that do not
// interrupt the allocator (C allows no more, and glibc gives no more): raised in main, in a thread
// that never allocated before, and by a fault that the handler repairs.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <csetjmp>
#include <sys/mman.h>
#include <thread>

namespace {

constexpr int rounds = 500;
volatile int handled = 0;
void* from_handler[rounds];
char* guarded;
std::size_t page;

void allocate_in_handler(int) {
  void* blocks[20];
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    blocks[i] = malloc(std::size_t{1} << i); // 1 B to 512 KiB
    CHECK(blocks[i] != nullptr);
    static_cast<char*>(blocks[i])[0] = 1;
  }
  for (void* block : blocks) {
    free(realloc(block, 3000));
  }
  free(from_handler[handled % rounds]);
  from_handler[handled % rounds] = malloc(100);
  handled = handled + 1;
}

void allocate_and_unprotect(int) {
  allocate_in_handler(0);
  CHECK_EQ(mprotect(guarded, page, PROT_READ | PROT_WRITE), 0);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  CHECK_EQ(sigaction(signal, &action, nullptr), 0);
}

// An alternate stack of the system's recommended size with no-access pages below it, so that a
// handler that needs too much stack faults instead of writing over something.
class alternate_stack {
public:
  alternate_stack() {
    long recommended = sysconf(_SC_SIGSTKSZ);
    size_ = recommended > 16384 ? static_cast<std::size_t>(recommended) : 16384;
    memory_ = static_cast<char*>(mmap(nullptr, size_ + 64 * kib, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK_NE(memory_, MAP_FAILED);
    CHECK_EQ(mprotect(memory_, 64 * kib, PROT_NONE), 0);
    stack_t stack{};
    stack.ss_sp = memory_ + 64 * kib;
    stack.ss_size = size_;
    CHECK_EQ(sigaltstack(&stack, nullptr), 0);
  }

  ~alternate_stack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    munmap(memory_, size_ + 64 * kib);
  }

  alternate_stack(const alternate_stack&) = delete;
  alternate_stack& operator=(const alternate_stack&) = delete;

private:
  char* memory_;
  std::size_t size_;
};

void raise_in_main() {
  alternate_stack stack;
  for (int i = 0; i < rounds; ++i) {
    void* block = malloc(200);
    raise(SIGUSR1);
    free(block);
  }
  CHECK_EQ(handled, rounds);
}

void* first_allocation_in_a_handler(void*) {
  alternate_stack stack;
  raise(SIGUSR1);
  return nullptr;
}

void raise_in_fresh_threads() {
  for (int i = 0; i < 50; ++i) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, first_allocation_in_a_handler, nullptr), 0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
  }
}

void fault_and_repair() {
  alternate_stack stack;
  page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  guarded = static_cast<char*>(mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK_NE(guarded, MAP_FAILED);
  handle(SIGSEGV, allocate_and_unprotect);
  for (int i = 0; i < 50; ++i) {
    CHECK_EQ(mprotect(guarded, page, PROT_NONE), 0);
    *static_cast<volatile char*>(guarded) = 1;
  }
}

sigjmp_buf landing;

// Leaving a handler by a jump must leave the allocator usable: it held no lock then.
void jump_out_of_a_handler() {
  alternate_stack stack;
  handle(SIGUSR2, [](int) {
    free(malloc(5000));
    siglongjmp(landing, 1);
  });
  static int i; // not in a register: the jump would bring an old value back
  for (i = 0; i < 100; ++i) {
    if (sigsetjmp(landing, 1) == 0) {
      raise(SIGUSR2);
    }
    free(malloc(100000));
  }
}

} // namespace

int main() {
  require_mete();
  handle(SIGUSR1, allocate_in_handler);
  raise_in_main();
  raise_in_fresh_threads();
  fault_and_repair();
  jump_out_of_a_handler();
  CHECK_EQ(handled, rounds + 100);
  for (void* block : from_handler) {
    free(block);
  }
}
