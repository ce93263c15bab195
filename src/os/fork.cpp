// SPDX-License-Identifier: MIT
#include "os/fork.hpp"

#include "os/memory.hpp"

#include <cerrno>
#include <new>
#include <pthread.h>
#include <sys/mman.h>

// Of the C library. Weak: __libc_single_threaded came with glibc 2.32, and a static program may
// have no streams.
extern "C" {
[[gnu::weak]] extern char __libc_single_threaded;
[[gnu::weak]] void _IO_list_lock();
[[gnu::weak]] void _IO_list_unlock();
[[gnu::weak]] void _IO_list_resetlock();
}

namespace mete::os {

bool register_fork_handlers(void (*prepare)(), void (*parent)(), void (*child)()) {
  return ::pthread_atfork(prepare, parent, child) == 0;
}

bool is_single_threaded() {
  return &__libc_single_threaded != nullptr && __libc_single_threaded != 0;
}

void lock_streams() {
  if (_IO_list_lock != nullptr && _IO_list_unlock != nullptr)
    _IO_list_lock();
}

void unlock_streams() {
  if (_IO_list_lock != nullptr && _IO_list_unlock != nullptr)
    _IO_list_unlock();
}

void reset_streams_in_child() {
  if (_IO_list_resetlock != nullptr)
    _IO_list_resetlock();
}

std::atomic<std::uint32_t>* map_word_wiped_in_child() {
  initialise_memory();
  char* const page = map(page_bytes, page_bytes);
  if (page == nullptr)
    return nullptr;
  const int saved_errno = errno;
  const bool agreed = ::madvise(page, page_bytes, MADV_WIPEONFORK) == 0;
  errno = saved_errno;
  if (!agreed) {
    release(page, page_bytes);
    return nullptr;
  }
  return new (page) std::atomic<std::uint32_t>{1};
}

} // namespace mete::os
