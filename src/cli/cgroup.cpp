// Reading control groups. See cgroup.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/cgroup.hpp"

#include "cli/process.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace mete::cli {
namespace {

// Version 1 says "no limit" with the largest number of pages.
constexpr std::uint64_t no_limit_bytes = std::uint64_t{1} << 62;

template <typename T>
bool tighten(std::optional<T>& limit, std::optional<T> other) {
  if (!other || (limit && *limit <= *other))
    return false;
  limit = other;
  return true;
}

std::optional<std::uint64_t> bytes_in(const std::string& file) {
  const auto bytes = leading_number(text_of_file(file));
  return bytes && *bytes < no_limit_bytes ? bytes : std::nullopt;
}

std::optional<double> ratio(std::optional<std::uint64_t> quota,
                            std::optional<std::uint64_t> period) {
  if (!quota || !period || *period == 0)
    return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

// "max 100000" or "50000 100000"
std::optional<double> processors_in(const std::string& file) {
  const std::string text = text_of_file(file);
  return ratio(leading_number(text),
               leading_number(text.substr(std::min(text.find(' '), text.size()))));
}

// Calls `visit` with the folder and the name of a group and of all around it.
template <typename Visit>
void walk_up(const std::string& tree, std::string group, Visit visit) {
  while (group.ends_with('/'))
    group.pop_back();
  for (;;) {
    visit(tree + group, group.empty() ? std::string("/") : group);
    const std::size_t slash = group.rfind('/');
    if (slash == group.npos)
      return;
    group.resize(slash);
  }
}

void read_memory(cgroup_limits& limits, const std::string& tree, const std::string& group,
                 bool version_2) {
  const std::string own = tree + group + "/";
  if (const auto used = bytes_in(own + (version_2 ? "memory.current" : "memory.usage_in_bytes")))
    limits.memory_used_bytes = used;
  const std::string events = own + (version_2 ? "memory.events" : "memory.oom_control");
  if (const auto kills = number_behind(text_of_file(events), "oom_kill "))
    limits.kills = *kills;
  walk_up(tree, group, [&](const std::string& folder, const std::string& name) {
    const char* const file = version_2 ? "/memory.max" : "/memory.limit_in_bytes";
    if (tighten(limits.memory_max_bytes, bytes_in(folder + file)))
      limits.memory_max_group = name;
    if (version_2)
      tighten(limits.memory_high_bytes, bytes_in(folder + "/memory.high"));
  });
}

void read_processors(cgroup_limits& limits, const std::string& tree, const std::string& group,
                     bool version_2) {
  const std::string statistics = text_of_file(tree + group + "/cpu.stat");
  if (const auto throttled = number_behind(statistics, "nr_throttled "))
    limits.throttled_periods = *throttled;
  walk_up(tree, group, [&](const std::string& folder, const std::string&) {
    tighten(limits.processors,
            version_2 ? processors_in(folder + "/cpu.max")
                      : ratio(leading_number(text_of_file(folder + "/cpu.cfs_quota_us")),
                              leading_number(text_of_file(folder + "/cpu.cfs_period_us"))));
  });
}

bool names_controller(std::string_view controllers, std::string_view name) {
  return fmt::format(",{},", controllers).find(fmt::format(",{},", name)) != std::string::npos;
}

} // namespace

cgroup_limits read_cgroup(std::string_view groups, const std::string& mount) {
  cgroup_limits limits;
  for (const std::string_view line : lines_of(groups)) { // "number:controllers:path"
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos)
      continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string group(line.substr(second + 1));
    if (names_controller(controllers, "memory"))
      read_memory(limits, mount + "/memory", group, false);
    if (names_controller(controllers, "cpu"))
      read_processors(limits, mount + "/cpu", group, false);
    if (controllers.empty()) { // version 2
      read_memory(limits, mount, group, true);
      read_processors(limits, mount, group, true);
    }
  }
  return limits;
}

} // namespace mete::cli
