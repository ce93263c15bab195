// SPDX-License-Identifier: MIT
#include "cli/listening.hpp"

#include "cli/process.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <sstream>
#include <string>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

// Calls `visit` with the words of each line but the first, which is a heading.
template <typename Visit>
void for_each_row(std::string_view table, const Visit& visit) {
  std::istringstream lines{std::string(table)};
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::vector<std::string> row;
    for (std::string word; words >> word;)
      row.push_back(word);
    visit(row);
  }
}

// "socket:[123]" is what a descriptor of it links to.
bool holds_one_of(pid_t process, const std::set<unsigned long>& sockets) {
  std::error_code error;
  const auto descriptors = fs::directory_iterator(fmt::format("/proc/{}/fd", process), error);
  return std::any_of(begin(descriptors), end(descriptors), [&](const fs::directory_entry& each) {
    constexpr std::string_view prefix = "socket:[";
    const std::string target = fs::read_symlink(each.path(), error).string();
    return !error && target.starts_with(prefix) &&
           sockets.contains(std::strtoul(target.c_str() + prefix.size(), nullptr, 10));
  });
}

} // namespace

std::set<unsigned long> listening_tcp_sockets(std::string_view table, int port) {
  // "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode", the
  // address as "0100007F:1F90"; 0A is the state LISTEN.
  std::set<unsigned long> found;
  for_each_row(table, [&](const std::vector<std::string>& row) {
    if (row.size() < 10 || row[3] != "0A")
      return;
    const std::size_t colon = row[1].rfind(':');
    if (port == 0 || std::strtol(row[1].c_str() + colon + 1, nullptr, 16) == port)
      found.insert(std::strtoul(row[9].c_str(), nullptr, 10));
  });
  return found;
}

std::set<unsigned long> listening_unix_sockets(std::string_view table) {
  // "Num RefCount Protocol Flags Type St Inode Path"; the flag 10000 is SO_ACCEPTCON.
  std::set<unsigned long> found;
  for_each_row(table, [&](const std::vector<std::string>& row) {
    if (row.size() >= 7 && (std::strtoul(row[3].c_str(), nullptr, 16) & 0x10000) != 0)
      found.insert(std::strtoul(row[6].c_str(), nullptr, 10));
  });
  return found;
}

bool listens(const std::vector<pid_t>& processes, int port) {
  return std::any_of(processes.begin(), processes.end(), [&](pid_t process) {
    const auto table = [&](const char* name) {
      return text_of_file(fmt::format("/proc/{}/net/{}", process, name));
    };
    std::set<unsigned long> sockets = listening_tcp_sockets(table("tcp"), port);
    sockets.merge(listening_tcp_sockets(table("tcp6"), port));
    if (port == 0)
      sockets.merge(listening_unix_sockets(table("unix")));
    return !sockets.empty() && holds_one_of(process, sockets);
  });
}

} // namespace mete::cli
