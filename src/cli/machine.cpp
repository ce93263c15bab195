// SPDX-License-Identifier: MIT
#include "cli/machine.hpp"

#include "cli/cgroup.hpp"
#include "cli/process.hpp"

#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sched.h>
#include <string_view>
#include <sys/utsname.h>
#include <unistd.h>

namespace mete::cli {
namespace {

std::string first_line(const char* path) {
  const std::string text = text_of_file(path);
  return text.substr(0, text.find('\n'));
}

std::string behind(const char* path, std::string_view key) {
  const std::string text = text_of_file(path);
  for (const std::string_view line : lines_of(text))
    if (line.starts_with(key))
      if (const std::size_t colon = line.find(": "); colon != line.npos)
        return std::string(line.substr(colon + 2));
  return {};
}

std::string usable_cpus() {
  const std::size_t count = usable_processors(0);
  const auto all = static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  return count == all ? fmt::format("{}", all) : fmt::format("{} of {}", count, all);
}

} // namespace

std::size_t usable_processors(pid_t process) {
  cpu_set_t usable;
  if (::sched_getaffinity(process, sizeof usable, &usable) != 0)
    return static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  return static_cast<std::size_t>(CPU_COUNT(&usable));
}

std::vector<std::pair<std::string, std::string>> machine_facts() {
  std::vector<std::pair<std::string, std::string>> facts;
  const auto add = [&](const char* name, std::string value) {
    if (!value.empty())
      facts.emplace_back(name, std::move(value));
  };
  add("date", fmt::format("{:%Y-%m-%d %H:%M:%S %z}", fmt::localtime(std::time(nullptr))));
  utsname system{};
  ::uname(&system);
  add("CPU", behind("/proc/cpuinfo", "model name"));
  add("cores", usable_cpus());
  add("governor", first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
  add("memory",
      fmt::format("{} MiB", ::sysconf(_SC_PHYS_PAGES) / 1024 * (::sysconf(_SC_PAGESIZE) / 1024)));
  add("kernel", fmt::format("{} {}", system.release, system.machine));
  add("huge pages", first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  const cgroup_limits limits = read_cgroup(text_of_file("/proc/self/cgroup"));
  if (limits.memory_max_bytes)
    add("cgroup memory", fmt::format("{} MiB", *limits.memory_max_bytes >> 20));
  if (limits.processors)
    add("cgroup CPU", fmt::format("{:.4g} processors", *limits.processors));
  add("load", first_line("/proc/loadavg"));
  return facts;
}

} // namespace mete::cli
