// The kernel, its limits, the C library. See system_checks.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/system_checks.hpp"

#include "cli/process.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace mete::cli {
namespace {

using std::string_view;

constexpr const char* huge_page_folder = "/sys/kernel/mm/transparent_hugepage/";

std::string size_text(std::uint64_t bytes) {
  return bytes >= std::uint64_t{10} << 30  ? fmt::format("{} GiB", bytes >> 30)
         : bytes >= std::uint64_t{1} << 20 ? fmt::format("{} MiB", bytes >> 20)
                                           : fmt::format("{} KiB", bytes >> 10);
}

// The word in brackets: "always [madvise] never".
std::string chosen(const std::string& choices) {
  const std::size_t begin = choices.find('[');
  const std::size_t end = choices.find(']', begin);
  return end == choices.npos ? "" : choices.substr(begin + 1, end - begin - 1);
}

bool kernel_has_rseq() {
#if defined(SYS_rseq)
  return ::syscall(SYS_rseq, nullptr, 0, 0, 0) == 0 ||
         errno != ENOSYS; // no call is valid like this
#else
  return false;
#endif
}

std::pair<unsigned long, unsigned long> version_numbers(const std::string& version) {
  const std::size_t dot = std::min(version.find('.'), version.size());
  const auto minor = string_view(version).substr(std::min(dot + 1, version.size()));
  return {leading_number(version).value_or(0), leading_number(minor).value_or(0)};
}

} // namespace

system_state read_system_state() {
  system_state system;
  system.huge_pages = text_of_file(std::string(huge_page_folder) + "enabled");
  system.huge_pages_defrag = text_of_file(std::string(huge_page_folder) + "defrag");
  system.overcommit = text_of_file("/proc/sys/vm/overcommit_memory");
  system.meminfo = text_of_file("/proc/meminfo");
  system.max_map_count = text_of_file("/proc/sys/vm/max_map_count");
  system.page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  system.rseq = kernel_has_rseq();
  return system;
}

findings check_memory_limit(const cgroup_limits& limits) {
  findings found;
  const std::string used = limits.memory_used_bytes
                               ? fmt::format("; {} in use", size_text(*limits.memory_used_bytes))
                               : "";
  if (limits.memory_max_bytes)
    found.push_back(
        {"cgroup memory", level::ok,
         fmt::format("the cgroup limits memory to {} (set by {}){}",
                     size_text(*limits.memory_max_bytes), limits.memory_max_group, used)});
  else
    found.push_back({"cgroup memory", level::ok, "no cgroup limits memory"});
  if (limits.memory_high_bytes)
    found.push_back({"cgroup memory", level::note,
                     fmt::format("above {} (memory.high) the kernel slows the program down{}",
                                 size_text(*limits.memory_high_bytes), used)});
  if (limits.kills > 0)
    found.push_back(
        {"cgroup memory", level::problem,
         fmt::format("the kernel killed {} process{} in this cgroup for memory", limits.kills,
                     limits.kills == 1 ? "" : "es"),
         "raise the limit, or let the program need less: see mete compare for its peak"});
  return found;
}

findings check_processors(const cgroup_limits& limits, std::size_t usable_processors) {
  findings found;
  if (!limits.processors) {
    found.push_back(
        {"cgroup CPU", level::ok,
         fmt::format("no cgroup limits processors; {} can be used", usable_processors)});
    return found;
  }
  const bool more_seen = static_cast<double>(usable_processors) > *limits.processors;
  found.push_back(
      {"cgroup CPU", more_seen ? level::note : level::ok,
       fmt::format("the cgroup's quota is {:.4g} processors, and the program sees {}{}",
                   *limits.processors, usable_processors,
                   more_seen ? ": more threads than the quota has room for are stopped at times"
                             : ""),
       more_seen ? "set the program's number of threads by the quota, or bind it (cpuset, taskset)"
                 : ""});
  if (limits.throttled_periods > 0)
    found.push_back(
        {"cgroup CPU", level::note,
         fmt::format("the kernel stopped it in {} periods because its quota was used up",
                     limits.throttled_periods),
         "raise the quota, or use fewer threads"});
  return found;
}

findings check_huge_pages(const system_state& system, const process_facts& process, bool running) {
  const std::string enabled = chosen(system.huge_pages);
  if (enabled.empty())
    return {};
  std::string message = fmt::format("transparent huge pages: {}", enabled);
  if (const std::string defrag = chosen(system.huge_pages_defrag); !defrag.empty())
    message += fmt::format(" (defrag: {})", defrag);
  const bool refused = number_behind(process.status, "THP_enabled:") == std::uint64_t{0};
  if (refused)
    message += fmt::format("; {} refuses them", running ? "the process" : "this environment");
  if (const auto kib = number_behind(process.smaps_rollup, "AnonHugePages:");
      running && kib && *kib > 0)
    message += fmt::format("; the process has {} in them", size_text(*kib << 10));
  if (enabled != "always" || refused)
    return {{"huge pages", level::ok, message}};
  return {{"huge pages", level::note, message + ": sparse heaps take more memory so",
           "mete works with it; milder is: echo madvise > " + std::string(huge_page_folder) +
               "enabled"}};
}

findings check_overcommit(const system_state& system) {
  const auto mode = leading_number(system.overcommit);
  if (!mode)
    return {};
  if (*mode != 2)
    return {{"overcommit", level::ok, fmt::format("vm.overcommit_memory is {}", *mode)}};
  const std::uint64_t limit = number_behind(system.meminfo, "CommitLimit:").value_or(0) << 10;
  const std::uint64_t used = number_behind(system.meminfo, "Committed_AS:").value_or(0) << 10;
  const bool exhausted = used > limit - limit / 20;
  return {{"overcommit", exhausted ? level::problem : level::note,
           fmt::format("vm.overcommit_memory is 2: {} of {} are promised to programs{}",
                       size_text(used), size_text(limit),
                       exhausted ? ", so that malloc soon returns null" : ""),
           exhausted
               ? "sysctl vm.overcommit_memory=0, or a higher vm.overcommit_ratio, or more swap"
               : ""}};
}

findings check_mappings(const system_state& system, const process_facts& process) {
  const auto limit = leading_number(system.max_map_count);
  if (!limit || *limit == 0)
    return {};
  const std::uint64_t percent = process.mappings * 100 / *limit;
  const level how = percent > 90 ? level::problem : percent > 50 ? level::note : level::ok;
  return {{"mappings", how,
           fmt::format("{} mappings, of {} that vm.max_map_count allows", process.mappings, *limit),
           how == level::ok ? "" : fmt::format("sysctl vm.max_map_count={}", *limit * 4)}};
}

findings check_page_size(const system_state& system) {
  const bool usual = system.page_bytes == 4096;
  return {{"page size", usual ? level::ok : level::note,
           fmt::format("pages have {} bytes{}", system.page_bytes,
                       usual ? "" : ": unused memory is given back in coarser pieces")}};
}

findings check_process_limits(const process_facts& process, bool running) {
  findings found;
  const auto limit = [&](const char* line, const char* name, const char* what) {
    if (const auto bytes = number_behind(process.limits, line))
      found.push_back({"limits", level::note,
                       fmt::format("{} is limited to {} ({}): beyond that malloc returns null",
                                   what, size_text(*bytes), name),
                       "limit memory by a cgroup instead, which counts what is used"});
  };
  limit("Max address space", "RLIMIT_AS, ulimit -v", "address space");
  limit("Max data size", "RLIMIT_DATA, ulimit -d", "data");
  if (const auto locked = number_behind(process.status, "VmLck:"); running && locked && *locked > 0)
    found.push_back({"limits", level::note,
                     fmt::format("{} are locked (mlock, mlockall): locked memory is not given back",
                                 size_text(*locked << 10))});
  if (found.empty())
    found.push_back({"limits", level::ok, "address space and data are not limited"});
  return found;
}

findings check_rseq(const system_state& system, const process_facts& process,
                    const std::string& c_library_version, bool google_tcmalloc) {
  if (!system.rseq)
    return {{"rseq", level::note, "the kernel has no restartable sequences (rseq)"}};
  if (c_library_version.empty())
    return {};
  const std::string tunables = variable_in(process.environment, "GLIBC_TUNABLES").value_or("");
  const bool refused = tunables.find("glibc.pthread.rseq=0") != tunables.npos;
  const bool able = version_numbers(c_library_version) >= std::pair{2UL, 35UL};
  if (!able || refused)
    return {{"rseq", level::ok,
             fmt::format("glibc {} does not register rseq{}, others may", c_library_version,
                         able ? " (GLIBC_TUNABLES)" : "")}};
  if (google_tcmalloc)
    return {
        {"rseq", level::note,
         fmt::format("glibc {} has registered rseq, which Google's tcmalloc wants for its caches "
                     "by processor",
                     c_library_version),
         "GLIBC_TUNABLES=glibc.pthread.rseq=0"}};
  return {{"rseq", level::ok, fmt::format("glibc {} registers rseq", c_library_version)}};
}

} // namespace mete::cli
