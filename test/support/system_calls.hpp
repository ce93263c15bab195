// Counts chosen system calls of the calling thread, and makes them all the same.
//
// A filter of seccomp(2) turns each into SIGSYS, whose handler counts it and repeats it by an
// instruction of its own, which the filter knows by its address. So no tracer is needed, and other
// threads are not disturbed.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "check.hpp"

#include <atomic>
#include <csignal>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

namespace system_calls {

constexpr unsigned max_number = 512;
inline std::atomic<unsigned> counts[max_number] = {};

// What follows the one instruction that may make them.
extern "C" const char system_calls_made_here[];

#if defined(__x86_64__)
constexpr unsigned architecture = AUDIT_ARCH_X86_64;
[[gnu::noinline]] inline long make(long number, const long (&argument)[6]) {
  long result = number;
  register long r10 asm("r10") = argument[3];
  register long r8 asm("r8") = argument[4];
  register long r9 asm("r9") = argument[5];
  asm volatile("syscall\n"
               ".globl system_calls_made_here\n"
               "system_calls_made_here:\n"
               : "+a"(result)
               : "D"(argument[0]), "S"(argument[1]), "d"(argument[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
inline void repeat(ucontext_t& context) {
  auto& registers = context.uc_mcontext.gregs;
  registers[REG_RAX] =
      make(registers[REG_RAX], {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                                registers[REG_R10], registers[REG_R8], registers[REG_R9]});
}
#elif defined(__aarch64__)
constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
[[gnu::noinline]] inline long make(long number, const long (&argument)[6]) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = argument[0];
  register long x1 asm("x1") = argument[1];
  register long x2 asm("x2") = argument[2];
  register long x3 asm("x3") = argument[3];
  register long x4 asm("x4") = argument[4];
  register long x5 asm("x5") = argument[5];
  asm volatile("svc #0\n"
               ".globl system_calls_made_here\n"
               "system_calls_made_here:\n"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
}
inline void repeat(ucontext_t& context) {
  auto& registers = context.uc_mcontext.regs;
  long argument[6];
  for (int index = 0; index < 6; ++index)
    argument[index] = static_cast<long>(registers[index]);
  registers[0] = static_cast<unsigned long>(make(static_cast<long>(registers[8]), argument));
}
#endif

[[gnu::noinline]] inline void on_call(int, siginfo_t* info, void* context) {
  int saved_errno = errno;
  counts[static_cast<unsigned>(info->si_syscall) % max_number].fetch_add(1);
  repeat(*static_cast<ucontext_t*>(context));
  errno = saved_errno;
}

// From now on these calls of the calling thread, and of threads that it starts, are counted. Skips
// the test where the system has no filters.
template <std::size_t size>
void count(const unsigned (&numbers)[size]) {
  struct sigaction action {};
  action.sa_sigaction = on_call;
  action.sa_flags = SA_SIGINFO;
  CHECK_EQ(sigaction(SIGSYS, &action, nullptr), 0);
  const auto address = reinterpret_cast<std::uint64_t>(system_calls_made_here);
  const auto load = [](std::size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
  };
  sock_filter filter[size + 9];
  unsigned length = 0;
  filter[length++] = load(offsetof(seccomp_data, arch));
  filter[length++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0);
  filter[length++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  filter[length++] = load(offsetof(seccomp_data, instruction_pointer));
  filter[length++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(address),
                              static_cast<unsigned char>(size + 1), 0);
  filter[length++] = load(offsetof(seccomp_data, nr));
  for (std::size_t index = 0; index < size; ++index)
    filter[length++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[index],
                                static_cast<unsigned char>(size - index), 0);
  filter[length++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  filter[length++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
  const sock_fprog program{static_cast<unsigned short>(length), filter};
  CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    check_skip("this system has no filters for system calls");
}

inline unsigned counted(long number) {
  return counts[number].load();
}

} // namespace system_calls
