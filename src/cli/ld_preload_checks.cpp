// LD_PRELOAD, entry by entry. See ld_preload_checks.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/ld_preload_checks.hpp"

#include "cli/allocator_checks.hpp"
#include "cli/preload_check.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fmt/format.h>
#include <optional>

namespace mete::cli {
namespace {

// What the file itself says about why the loader does not take it; nothing if it is fine.
std::optional<finding> check_entry_file(const subject& whose, const std::string& entry) {
  if (entry.find('/') == entry.npos || entry.find('$') != entry.npos)
    return std::nullopt; // found by rules of the loader's own
  const mapped_file file(readable_entry(whose, entry));
  if (file.error() == ENOENT || file.error() == ENOTDIR)
    return finding{"preload", level::problem,
                   fmt::format("LD_PRELOAD names {}, which does not exist", entry),
                   "correct the path, or unset LD_PRELOAD"};
  if (file.error() != 0)
    return finding{"preload", level::problem,
                   fmt::format("LD_PRELOAD names {}, which cannot be read: {}", entry,
                               std::strerror(file.error())),
                   "let everybody read it and search its folders, or name another"};
  const auto elf = read_elf(file.bytes());
  if (!elf || elf->type != ET_DYN)
    return finding{"preload", level::problem,
                   fmt::format("LD_PRELOAD names {}, which is not a shared library", entry),
                   "name the library itself"};
  const object_facts& program = whose.objects.front();
  if (program.known && elf->identity != program.elf.identity)
    return finding{"preload", level::problem,
                   fmt::format("LD_PRELOAD names {}, which is built for {}, and the program for {}",
                               entry, elf->identity.name(), program.elf.identity.name()),
                   fmt::format("name a library for {}", program.elf.identity.name())};
  return std::nullopt;
}

// Why an entry of LD_PRELOAD that is not among the loaded objects was ignored.
finding explain_ignored(const subject& whose, const std::string& entry) {
  if (auto bad_file = check_entry_file(whose, entry))
    return *bad_file;
  const auto ignored = [&](const std::string& why, const std::string& remedy) {
    return finding{"preload", level::problem,
                   fmt::format("LD_PRELOAD names {}, but {}", entry, why), remedy};
  };
  if (whose.preload_dropped)
    return ignored(fmt::format("env drops the variable on the way to {}", whose.executable),
                   "set it behind env: env ... LD_PRELOAD=... program");
  if (!whose.rights.empty())
    return ignored(fmt::format("{} {}, so the loader ignores it", whose.executable, whose.rights),
                   "run a copy of the program without that, or run it as its owner");
  const mapped_file image(whose.readable);
  const auto obstacle =
      check_preload_in(image.bytes(), whose.executable, whose.objects.front().elf.identity)
          .hindrance;
  if (obstacle && image.error() == 0) {
    finding found = make_finding("preload", level::problem, obstacle->message);
    found.message = fmt::format("LD_PRELOAD names {}, but {}", entry, found.message);
    return found;
  }
  if (entry.find('/') == entry.npos)
    return ignored("the loader finds no such file in its folders", "name it with its whole path");
  return ignored(whose.is_process() ? "it is not in the process" : "the loader does not take it",
                 whose.is_process() ? "restart the process: the library may be younger than it"
                                    : "");
}

void check_entry(const subject& whose, const std::string& entry, const object_facts* provider,
                 findings& found) {
  const auto object =
      std::find_if(whose.objects.begin() + 1, whose.objects.end(),
                   [&](const object_facts& each) { return is_preloaded_as(whose, entry, each); });
  if (object == whose.objects.end()) {
    found.push_back(explain_ignored(whose, entry));
    return;
  }
  const bool offers_malloc =
      std::binary_search(object->functions.begin(), object->functions.end(), std::string("malloc"));
  if (offers_malloc && provider != nullptr && provider != &*object) {
    const bool own = provider == &whose.objects.front();
    found.push_back({"preload", level::problem,
                     fmt::format("{} is loaded by LD_PRELOAD, but malloc comes from {}, which the "
                                 "loader looks at first",
                                 object->path, provider->path),
                     own ? "build the program with the system's malloc"
                         : "name the one that is wanted first in LD_PRELOAD, and only that one"});
    return;
  }
  found.push_back({"preload", level::ok,
                   fmt::format("LD_PRELOAD: {} {} loaded", object->path,
                               whose.is_process() ? "is" : "would be")});
  if (!whose.is_process() && entry.find('/') != entry.npos && !entry.starts_with('/') &&
      !entry.starts_with('$'))
    found.push_back({"preload", level::note,
                     fmt::format("LD_PRELOAD names {} relative to this folder: programs that run "
                                 "in another one do not find it",
                                 entry),
                     "name it with its whole path"});
}

} // namespace

findings check_ld_preload(const subject& whose) {
  findings found;
  if (whose.process.environment_overwritten)
    found.push_back({"environment", level::note,
                     "the program has written over its environment (some show their title there): "
                     "variables are known in part at most"});
  if (under_valgrind(whose))
    return found;
  const object_facts* const provider = malloc_provider(whose);
  for (const std::string& entry : whose.preloads)
    check_entry(whose, entry, provider, found);
  return found;
}

} // namespace mete::cli
