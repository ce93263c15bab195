// Private to os/: what memory.cpp and move.cpp share.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <cstddef>
#include <sys/mman.h>

namespace mete::os {

class preserve_errno {
public:
  preserve_errno() : saved_(errno) {}
  ~preserve_errno() { errno = saved_; }
  preserve_errno(const preserve_errno&) = delete;
  preserve_errno& operator=(const preserve_errno&) = delete;

private:
  int saved_;
};

#if defined(METE_FAULT_INJECTION)
// True if the call that comes next shall fail. Counts it.
bool injected_failure();
#else
constexpr bool injected_failure() {
  return false;
}
#endif

inline constexpr int usable = PROT_READ | PROT_WRITE;

char* map_anonymous(std::size_t bytes, int protection, int flags);

} // namespace mete::os
