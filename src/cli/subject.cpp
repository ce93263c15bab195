// Collecting what is to be checked. See subject.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/subject.hpp"

#include "cli/active_allocator.hpp"
#include "cli/environment.hpp"
#include "cli/preload_check.hpp"
#include "cli/process.hpp"
#include "cli/program.hpp"
#include "cli/verify.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <unistd.h>

namespace mete::cli {
namespace {

constexpr const char* own_executable = "/proc/self/exe";

std::vector<std::string> entries_in(const process_facts& process) {
  return preload_entries(variable_in(process.environment, "LD_PRELOAD").value_or(""));
}

// Where the same file of another process's view is read from here.
std::string seen_from_here(const process_facts& process, const std::string& path) {
  return process.folder + (path.starts_with('/') ? "/root" : "/cwd/") + path;
}

// Why the loader of a program cannot be asked what it loads; empty if it can. What is no loader of
// glibc's would run the program instead of answering.
std::string why_not_asked(const subject& whose) {
  const object_facts& program = whose.objects.front();
  if (!program.known)
    return "it cannot be read";
  if (program.is_static())
    return "it is statically linked";
  const mapped_file own(own_executable);
  if (const auto self = read_elf(own.bytes()); self && self->identity != program.elf.identity)
    return "it is built for " + program.elf.identity.name();
  if (!whose.rights.empty())
    return "it " + whose.rights;
  const std::string_view loader = file_name(program.elf.interpreter);
  const bool glibc = loader.starts_with("ld-linux") || loader.starts_with("ld64.so") ||
                     loader.starts_with("ld.so");
  if (!glibc || ::access(program.elf.interpreter.c_str(), X_OK) != 0)
    return fmt::format("its loader {} is missing or not glibc's", program.elf.interpreter);
  return {};
}

void look_at_image(subject& whose, const std::string& image) {
  whose.process = read_own_process();
  whose.preloads = entries_in(whose.process);
  whose.executable = whose.readable = image;
  whose.rights = gained_rights(image);
  whose.objects.push_back(read_object(image, image, true));
  whose.libraries_unknown = why_not_asked(whose);
  if (!whose.libraries_unknown.empty())
    return;
  std::vector<std::string> environment = whose.process.environment;
  if (whose.preload_dropped)
    std::erase_if(environment, [](const auto& each) { return each.starts_with("LD_PRELOAD="); });
  const loaded_files files = parse_loaded_files(trace_loading(image, environment));
  for (const std::string& path : files.paths)
    whose.objects.push_back(read_object(path, path, false));
  whose.missing = files.missing;
}

std::vector<placed_object> read_objects(const subject& whose) {
  std::vector<placed_object> objects{{read_object(whose.readable, whose.executable, true), 0}};
  for (const mapped_object& each : whose.process.objects)
    if (each.path != whose.executable)
      objects.push_back(
          {read_object(readable_path(whose.process, each), each.path, false), each.start});
  return objects;
}

// The libraries among `objects` that are preloaded, in order.
std::vector<std::size_t> find_preloaded(const subject& whose,
                                        const std::vector<placed_object>& objects) {
  std::vector<std::string> entries = whose.preloads;
  const std::string everywhere = text_of_file(seen_from_here(whose.process, "/etc/ld.so.preload"));
  for (const std::string_view line : lines_of(everywhere))
    for (std::string& entry : preload_entries(std::string(line)))
      entries.push_back(std::move(entry));
  std::vector<std::size_t> found;
  for (const std::string& entry : entries)
    for (std::size_t index = 1; index < objects.size(); ++index)
      if (is_preloaded_as(whose, entry, objects[index].facts))
        found.push_back(index);
  return found;
}

} // namespace

subject look_at_process(pid_t process, const std::optional<std::string>& preload) {
  subject whose;
  whose.kind = subject_kind::process;
  whose.pid = process;
  whose.process = read_process(process);
  if (whose.process.secure)
    whose.rights = "gained rights when it was started (setuid, setgid or file capabilities)";
  whose.executable = whose.process.executable;
  whose.readable = whose.process.folder + "/exe";
  whose.title = fmt::format("process {}  {}", process, whose.executable);
  whose.preloads = preload ? preload_entries(*preload) : entries_in(whose.process);
  std::vector<placed_object> objects = read_objects(whose);
  const bool unknown = !preload && whose.process.environment_overwritten && whose.preloads.empty();
  const auto preloaded = unknown ? std::nullopt : std::optional(find_preloaded(whose, objects));
  whose.objects = in_search_order(std::move(objects), preloaded);
  return whose;
}

subject look_at_program(const std::vector<std::string>& arguments) {
  const program_file program = find_program(arguments);
  subject whose;
  whose.kind = subject_kind::program;
  whose.preload_dropped = program.environment_dropped;
  whose.title = program.path == program.image
                    ? fmt::format("program {}", program.path)
                    : fmt::format("program {}, which runs {}", program.path, program.image);
  look_at_image(whose, program.image);
  return whose;
}

subject look_at_environment() {
  subject whose;
  whose.title = "this environment, for a program that is started from here";
  look_at_image(whose, read_own_process().executable);
  return whose;
}

std::string readable_entry(const subject& whose, const std::string& entry) {
  return whose.is_process() ? seen_from_here(whose.process, entry) : entry;
}

bool is_preloaded_as(const subject& whose, const std::string& entry, const object_facts& object) {
  const bool has_folder = entry.find('/') != entry.npos;
  return (has_folder &&
          same_file(readable_entry(whose, entry), readable_entry(whose, object.path))) ||
         names_same_library(entry, object.path);
}

} // namespace mete::cli
