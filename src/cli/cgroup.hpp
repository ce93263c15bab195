// The limits that control groups set: the tightest on the way up, and what came of them.
//
// Both versions are read, as they may be mounted side by side. A path that does not exist below the
// mount, because it is seen from another namespace, is passed over on the way up.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mete::cli {

inline constexpr const char* cgroup_mount = "/sys/fs/cgroup";

struct cgroup_limits {
  std::optional<std::uint64_t> memory_max_bytes;  // above it the kernel kills
  std::string memory_max_group;                   // that sets it
  std::optional<std::uint64_t> memory_high_bytes; // above it the kernel slows down and reclaims
  std::optional<std::uint64_t> memory_used_bytes; // by the process's own group
  std::uint64_t kills = 0;                        // by the kernel in its own group, for memory
  std::optional<double> processors;               // quota by period
  std::uint64_t throttled_periods = 0;            // in which its own group had used its quota up
};

// `groups` is the text of /proc/PID/cgroup.
cgroup_limits read_cgroup(std::string_view groups, const std::string& mount = cgroup_mount);

} // namespace mete::cli
