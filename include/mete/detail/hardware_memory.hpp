// The memory that lock-free code runs on. Such code is a template over it, so that the tests can
// put a modelled one in its place and explore every interleaving (test/support/interleave.hpp).
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_HARDWARE_MEMORY_HPP
#define METE_DETAIL_HARDWARE_MEMORY_HPP

#include <atomic>

namespace mete::detail {

struct hardware_memory {
  template <class T>
  using atomic = std::atomic<T>;
  template <class T>
  using plain = T;
};

} // namespace mete::detail

#endif
