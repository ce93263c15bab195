// Asking the loader whose malloc a program gets. See verify.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/verify.hpp"

#include "cli/command.hpp"
#include "cli/operator_checks.hpp"
#include "cli/process.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <set>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::cli {
namespace {

// Takes what stands between `before` and `after`, and `text` to behind it; empty when absent.
std::string take_between(std::string_view& text, std::string_view before, std::string_view after) {
  const std::size_t start = text.find(before);
  const std::size_t from = start + before.size();
  const std::size_t end = start == text.npos ? text.npos : text.find(after, from);
  if (end == text.npos)
    return {};
  std::string taken(text.substr(from, end - from));
  text.remove_prefix(end + after.size());
  return taken;
}

} // namespace

std::string trace_loading(const std::string& image, std::vector<std::string> environment) {
  std::erase_if(environment, [](const std::string& each) {
    return each.starts_with("LD_DEBUG=") || each.starts_with("LD_DEBUG_OUTPUT=");
  });
  environment.insert(environment.end(), {"LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=yes",
                                         "LD_BIND_NOW=yes", "LD_DEBUG=bindings"});
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw command_error(status_failed,
                        fmt::format("no pipe to the loader: {}", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<std::string> arguments{image};
  pid_t child = -1;
  const int error = ::posix_spawn(&child, image.c_str(), &actions, nullptr,
                                  pointers_to(arguments).data(), pointers_to(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  const std::string text = error == 0 ? read_all(ends[0]) : std::string();
  ::close(ends[0]);
  if (error != 0)
    throw command_error(status_failed, fmt::format("cannot start the loader of '{}': {}", image,
                                                   std::strerror(error)));
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return text;
}

loaded_files parse_loaded_files(std::string_view trace) {
  // "\tNAME => PATH (0xADDRESS)", "\tPATH (0xADDRESS)" or "\tNAME => not found"
  loaded_files files;
  for (std::string_view line : lines_of(trace)) {
    if (!line.starts_with('\t'))
      continue;
    line.remove_prefix(1);
    const std::size_t arrow = line.find(" => ");
    const std::string_view target = arrow == line.npos ? line : line.substr(arrow + 4);
    if (target == "not found")
      files.missing.emplace_back(line.substr(0, arrow));
    else if (const std::size_t address = target.rfind(" (0x");
             address != target.npos && target.substr(0, address).find('/') != target.npos)
      files.paths.emplace_back(target.substr(0, address)); // without a slash: the kernel's vdso
  }
  return files;
}

std::vector<symbol_binding> parse_bindings(std::string_view trace) {
  // "   4711:  binding file USER [0] to PROVIDER [0]: normal symbol `NAME' [VERSION]"
  std::vector<symbol_binding> bindings;
  for (std::string_view line : lines_of(trace)) {
    symbol_binding binding;
    binding.user = take_between(line, "binding file ", " [");
    binding.provider = take_between(line, "] to ", " [");
    binding.symbol = take_between(line, "symbol `", "'");
    if (!binding.symbol.empty())
      bindings.push_back(std::move(binding));
  }
  return bindings;
}

std::vector<std::string> verify_preload(const std::string& image, const std::string& library,
                                        const std::vector<std::string>& environment) {
  bool uses_malloc = false;
  std::set<std::string> with_operators{image}; // its own calls of its own functions are not bound
  for (const symbol_binding& binding : parse_bindings(trace_loading(image, environment))) {
    if (is_new_or_delete(binding.symbol))
      with_operators.insert(binding.provider);
    const bool of_malloc =
        std::find(must_agree.begin(), must_agree.end(), binding.symbol) != must_agree.end();
    if (!of_malloc || binding.user == library)
      continue;
    if (binding.provider != library)
      throw command_error(status_failed,
                          fmt::format("'{}' does not run on mete: its {} comes from '{}'; see "
                                      "docs/mete-run.md, \"When it cannot work\"",
                                      image, binding.symbol, binding.provider));
    uses_malloc = true;
  }
  if (!uses_malloc)
    throw command_error(status_failed,
                        fmt::format("'{}' does not run on mete: nothing that it loads asks for "
                                    "malloc; it may be no program of the C library's",
                                    image));
  std::vector<std::string> remarks;
  for (const std::string& path : with_operators)
    if (const object_facts object = read_object(path, path, path == image);
        path != library && replaces_operators(object))
      remarks.push_back(say_whose_operators(object, "mete") + "; to change that, build it without");
  return remarks;
}

} // namespace mete::cli
