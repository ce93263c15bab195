// Which allocator is active. See allocator_checks.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/allocator_checks.hpp"

#include "cli/active_allocator.hpp"
#include "cli/candidate.hpp"
#include "cli/command.hpp"
#include "cli/library.hpp"
#include "cli/operator_checks.hpp"
#include "cli/preload_check.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace mete::cli {
namespace {

using std::string_view;

// The first library before `provider` that might have a malloc for all it is known; null if all
// were read.
const object_facts* unreadable_before(const subject& whose, std::size_t provider) {
  for (std::size_t index = 1; index < provider; ++index)
    if (!whose.objects[index].known)
      return &whose.objects[index];
  return nullptr;
}

std::string describe(const subject& whose, const object_facts& object) {
  return describe(object, !whose.process.apart);
}

// "malloc, free and 14 more"
std::string name_functions(const std::map<std::string, std::size_t>& providers,
                           std::size_t provider) {
  const auto count = std::count_if(providers.begin(), providers.end(),
                                   [&](const auto& each) { return each.second == provider; });
  const auto has_free = providers.find("free");
  if (has_free == providers.end() || has_free->second != provider)
    return "malloc";
  return count <= 2 ? "malloc and free" : fmt::format("malloc, free and {} more", count - 2);
}

// For a program that is not started, what mete run would say has it.
std::string remedy_for_static(const subject& whose) {
  return whose.is_process() ? "link it dynamically, or build it with libmete.a" : "";
}

finding say_unknown_provider(const subject& whose) {
  const object_facts& program = whose.objects.front();
  const auto say = [](const std::string& message) {
    return finding{"active", level::note, message};
  };
  if (program.is_static()) {
    finding found = say(
        fmt::format("{} is statically linked: whatever malloc it has is inside it", program.path));
    found.remedy = remedy_for_static(whose);
    return found;
  }
  if (!whose.libraries_unknown.empty())
    return say(
        fmt::format("what {} would load is not known: {}", program.path, whose.libraries_unknown));
  const auto providers = find_providers(whose.objects);
  if (const auto found = providers.find("malloc"); found != providers.end()) {
    finding unsure = say(fmt::format(
        "{} comes first, but cannot be read: malloc is its own if it has one, else that of {}",
        unreadable_before(whose, found->second)->path, whose.objects[found->second].path));
    unsure.remedy = "run this as root, who may read it even after it was replaced";
    return unsure;
  }
  return say(fmt::format("nothing in {} provides malloc", program.path));
}

finding say_provider(const subject& whose, const std::map<std::string, std::size_t>& providers,
                     std::size_t provider) {
  const object_facts& object = whose.objects[provider];
  const char* const verb = whose.is_process() ? "come" : "would come";
  if (provider != 0)
    return {"active", level::ok,
            fmt::format("{} {} from {}", name_functions(providers, provider), verb,
                        describe(whose, object))};
  const bool mete = allocator_name(object) == "mete";
  return {"active", mete ? level::ok : level::note,
          fmt::format("{} {} from inside the program itself, {}{}",
                      name_functions(providers, provider), verb, describe(whose, object),
                      object.is_static() ? ", which is statically linked" : ""),
          object.is_static() && !mete ? remedy_for_static(whose) : ""};
}

void check_agreement(const subject& whose, const std::map<std::string, std::size_t>& providers,
                     std::size_t provider, findings& found) {
  for (const string_view name : must_agree) {
    const auto other = providers.find(std::string(name));
    if (other == providers.end() || other->second == provider)
      continue;
    found.push_back(
        {"mixed", level::problem,
         fmt::format("{} comes from {}, but malloc from {}: blocks of one that reach "
                     "the other corrupt memory",
                     name, whose.objects[other->second].path, whose.objects[provider].path),
         "use an allocator that replaces all of them, and preload it first"});
    return; // one says it
  }
}

void check_sanitizer(const subject& whose, const object_facts* provider, findings& found) {
  std::string sanitizer = whose.objects.front().sanitizer;
  if (sanitizer.empty() && provider != nullptr)
    sanitizer = provider->sanitizer;
  if (sanitizer.empty())
    return;
  found.push_back({"sanitizer", whose.preloads.empty() ? level::note : level::problem,
                   fmt::format("{} is built with -fsanitize={}, which needs its own malloc",
                               whose.executable, sanitizer),
                   "build it without to use another allocator"});
}

void check_replaced_files(const subject& whose, const object_facts* provider, findings& found) {
  for (const mapped_object& each : whose.process.objects) {
    const bool matters = each.path == whose.executable ||
                         (provider != nullptr && each.path == provider->path) ||
                         !known_allocator_of(each.path).empty();
    if (whose.is_process() && each.deleted && matters)
      found.push_back(
          {"replaced", level::note,
           fmt::format("{} was replaced or deleted since the process was started, which "
                       "runs on with the old one",
                       each.path),
           "restart it"});
  }
}

// The program's own functions stay before those of whatever is preloaded.
finding say_what_mete_run_does(const subject& whose, const std::string& library) {
  const object_facts& program = whose.objects.front();
  const auto own = std::find_if(must_agree.begin(), must_agree.end(), [&](string_view name) {
    return std::find(program.functions.begin(), program.functions.end(), name) !=
           program.functions.end();
  });
  const std::string front = fmt::format("mete run would put {} in front", library);
  if (own != must_agree.end())
    return {"mete run", level::note,
            fmt::format("{}, but the {} of {} would stay before it", front, *own, program.path),
            "build the program with the system's malloc only"};
  if (replaces_operators(program)) // check_operators() says what that means
    return {"mete run", level::note,
            fmt::format("{}, but the {} of {} would stay before it", front, name_operators(program),
                        program.path)};
  return {"mete run", level::ok, fmt::format("{}, and nothing is in its way", front)};
}

} // namespace

const object_facts* malloc_provider(const subject& whose) {
  const auto providers = find_providers(whose.objects);
  const auto found = providers.find("malloc");
  if (found == providers.end() || under_valgrind(whose) || unreadable_before(whose, found->second))
    return nullptr;
  return &whose.objects[found->second];
}

bool under_valgrind(const subject& whose) {
  return std::any_of(whose.objects.begin(), whose.objects.end(), [](const object_facts& each) {
    return file_name(each.path).starts_with("vgpreload_");
  });
}

findings check_active_allocator(const subject& whose) {
  findings found;
  if (under_valgrind(whose)) {
    found.push_back({"active", whose.preloads.empty() ? level::note : level::problem,
                     "the process runs under valgrind, which replaces malloc by its own",
                     "run it without to see another allocator at work"});
    return found;
  }
  const object_facts* const provider = malloc_provider(whose);
  if (provider == nullptr) {
    found.push_back(say_unknown_provider(whose));
  } else {
    const auto providers = find_providers(whose.objects);
    const std::size_t index = providers.at("malloc");
    found.push_back(say_provider(whose, providers, index));
    check_agreement(whose, providers, index, found);
    const findings operators = check_operators(whose, providers, index);
    found.insert(found.end(), operators.begin(), operators.end());
  }
  check_sanitizer(whose, provider, found);
  check_replaced_files(whose, provider, found);
  for (const std::string& name : whose.missing)
    found.push_back({"library", level::problem,
                     fmt::format("the program needs {}, which the loader does not find", name),
                     "install it, or name its folder in LD_LIBRARY_PATH"});
  return found;
}

findings check_other_allocators(const subject& whose) {
  findings found;
  const object_facts* const provider = malloc_provider(whose);
  const std::string active = provider != nullptr ? allocator_name(*provider) : "";
  for (const object_facts& each : whose.objects) {
    const std::string library = known_allocator_of(each.path);
    if (&each != provider && !library.empty() && library != active)
      found.push_back({"other", level::note,
                       fmt::format("{} is loaded as well, but its malloc is not used", each.path)});
    for (const own_function& inside : each.defined)
      if (library.empty() && inside.allocator != active &&
          !file_name(each.path).starts_with("libtbbmalloc"))
        found.push_back(
            {"other", level::note,
             fmt::format("{} has its own {} inside ({}): what it takes from there is not {}'s",
                         each.path, inside.allocator, inside.symbol,
                         active.empty() ? "malloc" : active)});
    for (const own_function& call : each.called)
      if (library.empty() && call.allocator != active)
        found.push_back(
            {"other", level::note,
             fmt::format("{} calls {}'s {}, which knows nothing of {}", each.path, call.allocator,
                         call.symbol, active.empty() ? "the active malloc" : active)});
  }
  return found;
}

findings check_mete_run(const subject& whose, const std::string& library) {
  const object_facts* const provider = malloc_provider(whose);
  if (provider != nullptr && allocator_name(*provider) == "mete")
    return {};
  try {
    const preload_library mete = find_library(library);
    const preload_check check = check_preload(whose.readable, mete.identity);
    if (whose.preload_dropped && !check.hindrance)
      return {{"mete run", level::note,
               fmt::format("mete run would refuse it: env drops LD_PRELOAD on the way to {}",
                           whose.executable),
               "put it behind env: env ... mete run -- ..."}};
    if (!check.hindrance)
      return {say_what_mete_run_does(whose, mete.path)};
    finding found = make_finding("mete run", level::note, check.hindrance->message);
    found.message = "mete run would refuse it: " + found.message;
    return {found};
  } catch (const command_error& error) {
    return {make_finding("mete run", level::note, error.what())};
  }
}

} // namespace mete::cli
