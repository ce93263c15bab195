// The order of locks around a fork as data: mete's own, and those of others that a fork takes or
// that threads hold when they come to mete. front/fork.cpp is held against it when it is compiled;
// front/fork_order_test.cpp tries all interleavings of threads that use locks as said here.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace mete::front {

enum class fork_lock : std::uint8_t {
  other_libraries, // what prepare handlers of other libraries take
  streams,         // stdio's list of streams
  one_stream,      // a stream of that list
  gate,            // front/gate.hpp: behind it are all locks of mete
  cpu_caches,      // the processors' heaps
  atfork_list,     // the C library's, of fork handlers
  nss,             // the C library's, of nsswitch.conf
  loader,          // the dynamic loader's
};

// What fork() takes, in this order, and keeps until it is over, where is_kept_by_fork() says so.
// The C library (glibc 2.36) runs the handlers, the last registered first and without its lock of
// their list, which it then keeps; it takes nss for a moment, and streams; then the process is
// copied. Because `streams` is recursive, it may be taken earlier. What comes behind the gate
// cannot be taken before it, because no function of the C library does so.
inline constexpr fork_lock fork_order[] = {
    fork_lock::other_libraries, fork_lock::streams,     fork_lock::gate,
    fork_lock::cpu_caches,      fork_lock::atfork_list, fork_lock::nss};
inline constexpr std::size_t fork_order_length = sizeof fork_order / sizeof fork_order[0];
constexpr bool is_kept_by_fork(fork_lock what) {
  return what != fork_lock::nss;
}

// What threads hold, outermost first, when they come to wait for the last one.
struct thread_order {
  const char* who;
  fork_lock locks[3];
  std::size_t count;
  // It is a circle with the order above, that only the patience at the gate ends.
  bool needs_patience = false;
};
inline constexpr thread_order thread_orders[] = {
    {"getline() makes its line longer", {fork_lock::one_stream, fork_lock::gate}, 2},
    {"fflush(nullptr), exit()", {fork_lock::streams, fork_lock::one_stream}, 2},
    {"fflush(nullptr) of a memory stream",
     {fork_lock::streams, fork_lock::one_stream, fork_lock::gate},
     3},
    {"a library allocates while it holds its lock",
     {fork_lock::other_libraries, fork_lock::gate},
     2},
    {"dlopen()", {fork_lock::loader, fork_lock::gate}, 2},
    {"malloc() of a thread that uses its processor's cache",
     {fork_lock::gate, fork_lock::cpu_caches},
     2},
    {"fork() in a signal handler that interrupted malloc()",
     {fork_lock::gate, fork_lock::streams, fork_lock::atfork_list},
     3},
    {"getpwnam() reads nsswitch.conf", {fork_lock::nss, fork_lock::gate}, 2, true},
    {"pthread_atfork() makes its list longer", {fork_lock::atfork_list, fork_lock::gate}, 2, true},
};

} // namespace mete::front
