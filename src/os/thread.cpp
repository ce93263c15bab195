// SPDX-License-Identifier: MIT
#include "os/thread.hpp"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// What the C library has registered. Weak: it is null before glibc 2.35.
extern "C" [[gnu::weak]] const unsigned int __rseq_size;
#if __GLIBC_PREREQ(2, 35)
extern "C" [[gnu::weak]] decltype(_dl_find_object) _dl_find_object;
#endif

// Found in a static program only: hidden, so that no shared library's is meant, which is private.
extern "C" [[gnu::weak, gnu::visibility("hidden")]] void _dl_deallocate_tls(void*, bool);

namespace mete::os {

constinit code_range loader_code;

namespace {

// The executable or library that the address lies in; nullptr if that cannot be told.
const link_map* object_of([[maybe_unused]] const void* address) {
#if __GLIBC_PREREQ(2, 35)
  dl_find_object found{};
  if (_dl_find_object != nullptr && ::_dl_find_object(const_cast<void*>(address), &found) == 0)
    return found.dlfo_link_map;
#endif
  return nullptr;
}

pthread_key_t exit_key;
bool exit_key_exists = false;
void (*exit_handler)() = nullptr;
const char* thread_name = nullptr; // one kind of thread is all that is started

// Other keys' destructors use memory, too. Arming again puts ours off to the next round, as long as
// there is one; the value counts the rounds.
void exit_round(void* value) {
  const auto round = reinterpret_cast<std::uintptr_t>(value);
  if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS &&
      ::pthread_setspecific(exit_key, reinterpret_cast<void*>(round + 1)) == 0)
    return;
  exit_handler();
}

// Set by the thread itself: of another one, the C library would print a path and open a file, and
// so touch parts of itself that a small program does not need.
void* thread_main(void* argument) {
  ::prctl(PR_SET_NAME, thread_name);
  reinterpret_cast<void (*)()>(argument)();
  return nullptr;
}

void rest(time_t seconds, long nanoseconds) {
  const int saved_errno = errno;
  const timespec time{seconds, nanoseconds};
  ::nanosleep(&time, nullptr);
  errno = saved_errno;
}

// A new thread of the C library registers an area with rseq(2), and ends the process if that is
// refused, as a sandbox may do that is older than the call. Without an area the kernel finds fault
// with the call; whoever refuses it says something else.
bool thread_would_live() {
#if defined(SYS_rseq)
  if (&__rseq_size == nullptr || __rseq_size == 0)
    return true;
  const int saved_errno = errno;
  const bool lives = ::syscall(SYS_rseq, nullptr, 0, 0, 0) == 0 || errno == EINVAL;
  errno = saved_errno;
  return lives;
#else
  return true;
#endif
}

} // namespace

bool register_thread_exit(void (*handler)()) {
  exit_handler = handler;
  exit_key_exists = ::pthread_key_create(&exit_key, exit_round) == 0;
  return exit_key_exists;
}

bool arm_thread_exit() {
  return exit_key_exists && ::pthread_setspecific(exit_key, reinterpret_cast<void*>(1)) == 0;
}

void rest_briefly() {
  rest(0, 1'000); // the kernel adds a timer's slack, 50 microseconds mostly
}

void rest_for(std::uint32_t milliseconds) {
  rest(milliseconds / 1000, static_cast<long>(milliseconds % 1000) * 1'000'000);
}

void find_loader_code() {
  if (const unsigned long base = ::getauxval(AT_BASE); base != 0) {
    const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(base);
    const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(base + header.e_phoff);
    for (unsigned index = 0; index < header.e_phnum; ++index)
      if (segments[index].p_type == PT_LOAD && (segments[index].p_flags & PF_X) != 0)
        loader_code = {base + segments[index].p_vaddr, segments[index].p_memsz};
  } else if (&_dl_deallocate_tls != nullptr) {
    constexpr std::size_t enough_bytes = 256; // twice what it has
    loader_code = {reinterpret_cast<std::uintptr_t>(&_dl_deallocate_tls), enough_bytes};
  }
}

// In a static program the C library's code and this are of one object.
bool is_c_library_code(const void* code) {
  const link_map* const object = object_of(code);
  return object != nullptr && object != object_of(&thread_name) &&
         object == object_of(reinterpret_cast<const void*>(&::gnu_get_libc_version));
}

bool start_thread(void (*run)(), const char* name) {
  if (!thread_would_live())
    return false;
  const int saved_errno = errno;
  thread_name = name;
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0)
    return false;
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  ::pthread_attr_setstacksize(&attributes, 256 * 1024);
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  const bool started =
      ::pthread_create(&thread, &attributes, thread_main, reinterpret_cast<void*>(run)) == 0;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&attributes);
  errno = saved_errno;
  return started;
}

} // namespace mete::os
