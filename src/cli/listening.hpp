// Whether a server listens: told from the kernel's tables, so that it is this server and no other,
// and without a connection that it would have to answer.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <set>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace mete::cli {

// Whether one of the processes listens on that TCP port, or, with 0, on any socket of TCP or UNIX.
bool listens(const std::vector<pid_t>& processes, int port);

// The inodes of the listening sockets in the text of /proc/PID/net/tcp or tcp6; of all, or of one
// port.
std::set<unsigned long> listening_tcp_sockets(std::string_view table, int port);

// The same of /proc/PID/net/unix.
std::set<unsigned long> listening_unix_sockets(std::string_view table);

} // namespace mete::cli
