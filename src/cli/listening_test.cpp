// SPDX-License-Identifier: MIT
#include "cli/listening.hpp"

#include "cli/process.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <set>
#include <sys/socket.h>
#include <unistd.h>

namespace mete::cli {
namespace {

using sockets = std::set<unsigned long>;

// Made after the form that proc(5) tells.
constexpr const char* tcp =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid inode\n"
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 "
    "1\n"
    "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 "
    "1\n"
    "   2: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 43 "
    "1\n";

TEST(listening_test, only_sockets_that_listen_count) {
  EXPECT_EQ(listening_tcp_sockets(tcp, 0), (sockets{41, 42}));
  EXPECT_EQ(listening_tcp_sockets(tcp, 8080), (sockets{41}));
  EXPECT_EQ(listening_tcp_sockets(tcp, 81), sockets{});
  EXPECT_EQ(listening_tcp_sockets("", 0), sockets{});
  EXPECT_EQ(listening_tcp_sockets("heading\nbroken\n", 0), sockets{});
}

TEST(listening_test, unix_sockets_count_too) {
  EXPECT_EQ(listening_unix_sockets("Num RefCount Protocol Flags Type St Inode Path\n"
                                   "0000: 00000002 00000000 00010000 0001 01 51 /run/a\n"
                                   "0000: 00000003 00000000 00000000 0001 03 52\n"),
            (sockets{51}));
}

TEST(listening_test, this_process_is_seen_from_the_moment_it_listens) {
  const descriptor server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(server.number(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(server.number(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin_port);
  EXPECT_FALSE(listens({::getpid()}, port));
  ASSERT_EQ(::listen(server.number(), 1), 0);
  EXPECT_TRUE(listens({::getpid()}, port));
  EXPECT_TRUE(listens({::getpid()}, 0));
  EXPECT_FALSE(listens({::getppid()}, port)) << "it is not the parent's";
}

} // namespace
} // namespace mete::cli
