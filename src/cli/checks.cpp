// Putting the checks together. See checks.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/checks.hpp"

#include "cli/allocator_checks.hpp"
#include "cli/candidate.hpp"
#include "cli/ld_preload_checks.hpp"
#include "cli/machine.hpp"
#include "cli/system_checks.hpp"
#include "cli/variable_checks.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace mete::cli {
namespace {

variable_reader reader_of(const subject& whose) {
  variable_reader reader;
  if (const object_facts* const provider = malloc_provider(whose))
    reader.active = allocator_name(*provider);
  for (const object_facts& each : whose.objects) {
    if (known_allocator_of(each.path).empty())
      for (const own_function& function : each.defined)
        reader.inside.push_back(function.allocator);
    reader.python |= file_name(each.path).starts_with("libpython");
  }
  reader.secure = !whose.rights.empty();
  reader.python |= file_name(whose.executable).starts_with("python");
  return reader;
}

std::string c_library_version(const subject& whose) {
  for (const object_facts& each : whose.objects)
    if (!each.c_library_version.empty())
      return each.c_library_version;
  return {};
}

bool has_google_tcmalloc(const subject& whose) {
  return std::any_of(whose.objects.begin(), whose.objects.end(), [](const object_facts& each) {
    return std::any_of(each.defined.begin(), each.defined.end(), [](const own_function& function) {
      return function.symbol.starts_with("TCMallocInternal");
    });
  });
}

// The library reads the limit in the process's own view of the files.
void check_limit_is_seen(const subject& whose, const cgroup_limits& limits, findings& found) {
  const cgroup_limits seen =
      read_cgroup(whose.process.cgroup, whose.process.folder + "/root" + cgroup_mount);
  if (limits.memory_max_bytes && seen.memory_max_bytes != limits.memory_max_bytes)
    found.push_back({"cgroup memory", level::note,
                     "the process itself does not see that limit, so its allocator cannot heed it",
                     fmt::format("mount {} in its container, or set METE_OPTIONS=dirty_limit=...",
                                 cgroup_mount)});
}

findings check_system(const subject& whose) {
  const bool running = whose.is_process();
  const system_state system = read_system_state();
  const cgroup_limits limits = read_cgroup(whose.process.cgroup);
  findings found = check_memory_limit(limits);
  if (running)
    check_limit_is_seen(whose, limits, found);
  const auto add = [&](findings more) { found.insert(found.end(), more.begin(), more.end()); };
  add(check_processors(limits, usable_processors(whose.pid)));
  add(check_huge_pages(system, whose.process, running));
  add(check_overcommit(system));
  if (running)
    add(check_mappings(system, whose.process));
  add(check_page_size(system));
  add(check_process_limits(whose.process, running));
  add(check_rseq(system, whose.process, c_library_version(whose), has_google_tcmalloc(whose)));
  return found;
}

} // namespace

findings check_all(const subject& whose, const std::string& library) {
  findings found = check_active_allocator(whose);
  const auto add = [&](findings more) { found.insert(found.end(), more.begin(), more.end()); };
  add(check_ld_preload(whose));
  add(check_other_allocators(whose));
  if (whose.kind == subject_kind::program)
    add(check_mete_run(whose, library));
  const variable_reader reader = reader_of(whose);
  add(check_mete_options(whose.process.environment, reader));
  add(check_variables(whose.process.environment, reader));
  add(check_system(whose));
  return found;
}

} // namespace mete::cli
