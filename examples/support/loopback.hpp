// What the examples with sockets share: TCP on this machine only, and the signals that end a
// server.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_LOOPBACK_HPP
#define METE_EXAMPLES_LOOPBACK_HPP

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace loopback {

[[noreturn]] inline void fail(const char* program, const char* what, int port, const char* remedy) {
  std::fprintf(stderr, "%s: cannot %s port %d: %s; %s\n", program, what, port, std::strerror(errno),
               remedy);
  std::exit(1);
}

// An argument's number, or -1.
inline int number_of(const char* argument) {
  char* end = nullptr;
  const long number = std::strtol(argument, &end, 10);
  return end != argument && *end == 0 && number >= 0 && number <= INT_MAX ? static_cast<int>(number)
                                                                          : -1;
}

// What a server is called with: [--malloc] [port [threads]].
struct arguments {
  bool on_malloc;
  int port, threads;
};

// Ends the program with its usage if they are wrong.
inline arguments arguments_of(const char* program, int count, char** given, int port,
                              int max_threads) {
  const bool on_malloc = count > 1 && std::strcmp(given[1], "--malloc") == 0;
  const int first = on_malloc ? 2 : 1;
  const arguments with{on_malloc, count > first ? number_of(given[first]) : port,
                       count > first + 1 ? number_of(given[first + 1]) : 1};
  if (with.port < 0 || with.port > 65535 || with.threads < 1 || with.threads > max_threads ||
      count > first + 2) {
    std::fprintf(stderr, "usage: %s [--malloc] [port, 0 for any [threads, 1 to %d]]\n", program,
                 max_threads);
    std::exit(2);
  }
  return with;
}

inline sockaddr_in address_of(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A socket that sends at once, and does not block.
inline int open_socket() {
  const int opened = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); // accepted ones inherit it
  return opened;
}

// Prints where it listens. 0: on any port that is free.
inline int listen_on(const char* program, int port) {
  const int listener = open_socket();
  sockaddr_in here = address_of(port);
  socklen_t length = sizeof(here);
  auto* const address = reinterpret_cast<sockaddr*>(&here);
  if (bind(listener, address, length) != 0 || listen(listener, 4096) != 0)
    fail(program, "listen on", port, "name another, or 0 for any that is free");
  getsockname(listener, address, &length);
  std::printf("%s: listening on 127.0.0.1:%d\n", program, ntohs(here.sin_port));
  std::fflush(stdout);
  return listener;
}

inline int accept_from(int listener) {
  return accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

inline void watch(int epoll, int which, std::uint32_t events, int how) {
  epoll_event wanted{};
  wanted.events = events;
  wanted.data.fd = which;
  epoll_ctl(epoll, how, which, &wanted);
}

// Becomes readable when SIGTERM or SIGINT comes, which then end the process no longer. Threads that
// are started afterwards inherit that; nobody reads it, so all of them see it.
inline int ending_signals() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

} // namespace loopback

#endif
