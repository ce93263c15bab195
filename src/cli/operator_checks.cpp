// Whose operator new and delete. See operator_checks.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/operator_checks.hpp"

#include "cli/candidate.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace mete::cli {
namespace {

bool is_delete(const std::string& symbol) {
  return symbol.starts_with("_Zd");
}

struct operator_words {
  const char* name; // "operator new and delete", or the one of both that an object has
  bool both;
};

operator_words words_for_operators(const object_facts& object) {
  bool has_new = false;
  bool has_delete = false;
  for (const std::string& name : object.functions)
    if (is_new_or_delete(name))
      (is_delete(name) ? has_delete : has_new) = true;
  const bool both = has_new && has_delete;
  return {both ? "operator new and delete" : has_delete ? "operator delete" : "operator new", both};
}

// Those forms that no library of C++ and not the active allocator provides.
struct foreign_forms {
  std::set<std::size_t> with_new;
  std::set<std::size_t> with_delete;

  bool none() const { return with_new.empty() && with_delete.empty(); }
  bool all_of_one() const {
    return with_new.size() == 1 && with_delete.size() == 1 && with_new == with_delete;
  }
};

foreign_forms find_foreign(const subject& whose,
                           const std::map<std::string, std::size_t>& providers,
                           std::size_t provider) {
  foreign_forms found;
  for (const auto& [name, index] : providers)
    if (is_new_or_delete(name) && index != provider &&
        !has_operators_that_ask_malloc(whose.objects[index]))
      (is_delete(name) ? found.with_delete : found.with_new).insert(index);
  return found;
}

// Blocks of one pass through the other, which is right if both ask malloc.
finding say_split(const subject& whose, const foreign_forms& foreign, std::size_t provider) {
  const auto first = [&](const std::set<std::size_t>& indices) {
    return indices.empty() ? provider : *indices.begin();
  };
  std::set<std::size_t> all = foreign.with_new;
  all.insert(foreign.with_delete.begin(), foreign.with_delete.end());
  const bool ask_malloc = std::all_of(
      all.begin(), all.end(), [&](std::size_t index) { return whose.objects[index].calls_malloc; });
  finding found{"operators", ask_malloc ? level::note : level::problem,
                fmt::format("operator new comes from {}, but operator delete from {}",
                            whose.objects[first(foreign.with_new)].path,
                            whose.objects[first(foreign.with_delete)].path),
                "replace both in the same program or library"};
  if (ask_malloc)
    found.message += ": right only if these call malloc and free";
  return found;
}

void say_unused(const subject& whose, const std::map<std::string, std::size_t>& providers,
                findings& found) {
  std::set<std::size_t> used;
  for (const auto& [name, index] : providers)
    if (is_new_or_delete(name))
      used.insert(index);
  for (std::size_t index = 1; index < whose.objects.size(); ++index) {
    const object_facts& object = whose.objects[index];
    if (!replaces_operators(object) || used.count(index) != 0)
      continue;
    const operator_words words = words_for_operators(object);
    found.push_back(
        {"operators", level::note,
         fmt::format("{} has {} of its own, which {} not used: those of {} come first", object.path,
                     words.name, words.both ? "are" : "is", whose.objects[*used.begin()].path)});
  }
}

} // namespace

bool has_operators_that_ask_malloc(const object_facts& object) {
  return object.elf.shared_object_name.starts_with("libstdc++.so") ||
         object.elf.shared_object_name.starts_with("libc++") || object.cxx_library_inside;
}

bool replaces_operators(const object_facts& object) {
  const bool mete_inside =
      std::any_of(object.defined.begin(), object.defined.end(),
                  [](const own_function& each) { return each.allocator == "mete"; });
  return !has_operators_that_ask_malloc(object) && !mete_inside &&
         known_allocator_of(object.path).empty() &&
         std::any_of(object.functions.begin(), object.functions.end(), is_new_or_delete);
}

std::string name_operators(const object_facts& object) {
  return words_for_operators(object).name;
}

std::string say_whose_operators(const object_facts& object, const std::string& allocator) {
  const operator_words words = words_for_operators(object);
  const std::string whose =
      fmt::format("{} {} from {}, which ", words.name, words.both ? "come" : "comes", object.path);
  return object.calls_malloc
             ? fmt::format("{}calls malloc, too: C++ objects are on {} only as far as {}", whose,
                           allocator, words.both ? "these do" : "this does")
             : fmt::format("{}does not call malloc itself: C++ objects are not on {}, unless a "
                           "library does it",
                           whose, allocator);
}

findings check_operators(const subject& whose, const std::map<std::string, std::size_t>& providers,
                         std::size_t provider) {
  findings found;
  const foreign_forms foreign = find_foreign(whose, providers, provider);
  const std::string allocator(file_name(whose.objects[provider].path));
  if (!foreign.none() && !foreign.all_of_one())
    found.push_back(say_split(whose, foreign, provider));
  else if (!foreign.none())
    found.push_back({"operators", level::note,
                     say_whose_operators(whose.objects[*foreign.with_new.begin()], allocator),
                     fmt::format("build that without them to have C++ objects on {}", allocator)});
  say_unused(whose, providers, found);
  return found;
}

} // namespace mete::cli
