// Reading /proc/PID. See process_facts.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/process_facts.hpp"

#include "cli/command.hpp"
#include "cli/elf_file.hpp"
#include "cli/environment.hpp"
#include "cli/process.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;
using std::string_view;

constexpr const char* own_mounts = "/proc/self/ns/mnt";
constexpr string_view deleted_mark = " (deleted)";

// The columns of a line of /proc/PID/maps: "start-end perms offset device inode   path".
struct mapping {
  string_view range;
  string_view permissions;
  string_view path;
};

// Takes the mark off, and tells whether it was there.
bool take_deleted_mark(std::string& path) {
  const bool deleted = path.ends_with(deleted_mark);
  if (deleted)
    path.resize(path.size() - deleted_mark.size());
  return deleted;
}

mapping parse_mapping(string_view line) {
  const std::size_t first = std::min(line.find(' '), line.size());
  const std::size_t slash = std::min(line.find('/'), line.size());
  return {line.substr(0, first), line.substr(std::min(first + 1, line.size()), 4),
          line.substr(slash)};
}

std::uint64_t hexadecimal(string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number, 16);
  return number;
}

// map_files writes addresses without the zeros that maps fills them up with.
std::string range_name(string_view range) {
  const std::size_t dash = std::min(range.find('-'), range.size());
  const string_view end = range.substr(std::min(dash + 1, range.size()));
  return fmt::format("{:x}-{:x}", hexadecimal(range), hexadecimal(end));
}

// Memory that only looks like a file.
bool is_file(string_view path) {
  return !path.empty() && !path.starts_with("/memfd:") && !path.starts_with("/SYSV") &&
         !path.starts_with("/dev/zero");
}

std::string status_of(pid_t process) {
  std::string status = text_of_file(fmt::format("/proc/{}/status", process));
  if (status.empty())
    throw command_error(status_usage, fmt::format("there is no process {}; see: ps -e", process));
  return status;
}

[[noreturn]] void throw_denied(pid_t process, const std::string& status) {
  const auto user = number_behind(status, "Uid:");
  throw command_error(
      status_usage, fmt::format("you may not look at process {}, which runs as user {}; run this "
                                "as that user, or as root with the right to trace (CAP_SYS_PTRACE)",
                                process, user.value_or(0)));
}

process_facts read_folder(const std::string& folder, const std::string& status) {
  process_facts facts;
  facts.folder = folder;
  facts.status = status;
  std::error_code error;
  facts.executable = fs::read_symlink(folder + "/exe", error).string();
  take_deleted_mark(facts.executable);
  const std::string maps = text_of_file(folder + "/maps");
  facts.objects = objects_in_maps(maps);
  facts.mappings = static_cast<std::size_t>(std::count(maps.begin(), maps.end(), '\n'));
  facts.environment = parse_environment(text_of_file(folder + "/environ"));
  facts.environment_overwritten = is_overwritten(facts.environment);
  facts.apart = !same_file(folder + "/root/", "/") || !same_file(folder + "/ns/mnt", own_mounts);
  const mapped_file executable(folder + "/exe");
  if (const auto elf = read_elf(executable.bytes()))
    facts.secure = is_secure(text_of_file(folder + "/auxv"), elf->identity.bits);
  facts.limits = text_of_file(folder + "/limits");
  facts.cgroup = text_of_file(folder + "/cgroup");
  facts.smaps_rollup = text_of_file(folder + "/smaps_rollup");
  return facts;
}

} // namespace

process_facts read_own_process() {
  return read_folder("/proc/self", text_of_file("/proc/self/status"));
}

process_facts read_process(pid_t process) {
  const std::string folder = fmt::format("/proc/{}", process);
  const std::string status = status_of(process);
  if (status.find("\nState:\tZ") != status.npos)
    throw command_error(status_usage, fmt::format("process {} has ended (a zombie); look at one "
                                                  "that runs",
                                                  process));
  // Only a process with memory of its own has these figures.
  if (!number_behind(status, "VmSize:"))
    throw command_error(status_usage, fmt::format("process {} is a thread of the kernel, which "
                                                  "has no malloc; name a program's",
                                                  process));
  process_facts facts = read_folder(folder, status);
  if (facts.mappings == 0 || facts.executable.empty()) {
    status_of(process); // throws if it has ended meanwhile
    throw_denied(process, status);
  }
  return facts;
}

std::string readable_path(const process_facts& process, const mapped_object& object) {
  for (const std::string& path : {fmt::format("{}/map_files/{}", process.folder, object.range),
                                  fmt::format("{}/root{}", process.folder, object.path)})
    if (::access(path.c_str(), R_OK) == 0)
      return path;
  return object.path;
}

std::vector<mapped_object> objects_in_maps(string_view maps) {
  std::vector<mapped_object> objects;
  std::vector<std::pair<string_view, std::uint64_t>> starts; // libraries begin without code
  for (const string_view line : lines_of(maps)) {
    const mapping each = parse_mapping(line);
    if (!is_file(each.path))
      continue;
    const auto same_path = [&](const auto& other) { return other.first == each.path; };
    auto start = std::find_if(starts.begin(), starts.end(), same_path);
    if (start == starts.end())
      start = starts.insert(start, {each.path, hexadecimal(each.range)});
    if (each.permissions.find('x') == each.permissions.npos)
      continue;
    mapped_object object{std::string(each.path), range_name(each.range), start->second, false};
    object.deleted = take_deleted_mark(object.path);
    const bool known = std::any_of(objects.begin(), objects.end(), [&](const auto& other) {
      return other.path == object.path && other.deleted == object.deleted;
    });
    if (!known)
      objects.push_back(std::move(object));
  }
  return objects;
}

std::vector<std::string> parse_environment(string_view text) {
  std::vector<std::string> environment;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\0'), text.size());
    environment.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return environment;
}

bool is_overwritten(const std::vector<std::string>& environment) {
  return std::any_of(environment.begin(), environment.end(),
                     [](const std::string& each) { return each.find('=') == std::string::npos; });
}

bool is_secure(string_view auxiliary_vector, int bits) {
  const std::size_t word = bits == 64 ? 8 : 4;
  for (std::size_t at = 0; at + 2 * word <= auxiliary_vector.size(); at += 2 * word) {
    std::uint64_t type = 0; // the lower half is the first one: only such processes run here
    std::uint64_t value = 0;
    std::memcpy(&type, auxiliary_vector.data() + at, word);
    std::memcpy(&value, auxiliary_vector.data() + at + word, word);
    if (type == AT_SECURE)
      return value != 0;
  }
  return false;
}

std::optional<std::string> variable_in(const std::vector<std::string>& environment,
                                       string_view name) {
  for (const std::string& each : environment)
    if (each.size() > name.size() && each.starts_with(name) && each[name.size()] == '=')
      return each.substr(name.size() + 1);
  return std::nullopt;
}

} // namespace mete::cli
