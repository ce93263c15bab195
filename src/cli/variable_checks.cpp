// Variables with and without effect. See variable_checks.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/variable_checks.hpp"

#include "base/check.hpp"
#include "base/options.hpp"
#include "cli/process_facts.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <numeric>
#include <string_view>

namespace mete::cli {
namespace {

using std::string_view;

// Insertions, deletions and replacements from one word to the other.
std::size_t distance(string_view from, string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

const option_description* option_called(string_view name) {
  for (const option_description& each : option_table)
    if (name == each.name)
      return &each;
  return nullptr;
}

// The option that was most likely meant: one that begins so, or is written nearly so.
const option_description* nearest_option(string_view name) {
  const option_description* nearest = nullptr;
  std::size_t least = name.size() / 3 + 2; // more different ones have nothing to do with each other
  for (const option_description& each : option_table) {
    const bool begins = name.size() >= 3 && string_view(each.name).starts_with(name);
    const std::size_t steps = begins ? 0 : distance(name, each.name);
    if (steps < least) {
      nearest = &each;
      least = steps;
    }
  }
  return nearest;
}

std::string remedy_for(string_view assignment) {
  const std::size_t sign = std::min(assignment.find('='), assignment.size());
  const string_view name = assignment.substr(0, sign);
  const string_view value = assignment.substr(std::min(sign + 1, assignment.size()));
  if (option_called(name) == nullptr) {
    const option_description* const nearest = nearest_option(name);
    return nearest != nullptr
               ? fmt::format("write {}", nearest->name) + std::string(assignment.substr(sign))
               : "leave it out; docs/options.md lists the options";
  }
  const option_description& option = *option_called(name);
  const bool below = value.starts_with('-');
  const bool number = value.find_first_of("0123456789") <= (below ? 1 : 0);
  return fmt::format("write {}={}", name,
                     !number ? option.fallback : (below ? option.minimum : option.maximum));
}

// Parts of METE_OPTIONS as the library's parser tells them apart.
std::vector<std::string> assignments_in(string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(", "), text.size());
    if (end != 0)
      parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

// The library's own complaint about an assignment; empty if it takes it. Takes it here as well,
// where the options mean nothing.
std::string complaint_about(const std::string& assignment) {
  std::string complaint;
  parse_options(
      assignment.c_str(),
      [](const message& line, void* text) {
        static_cast<std::string*>(text)->assign(line.data(), line.length());
      },
      &complaint);
  constexpr string_view introduction = "mete: ";
  return complaint.substr(complaint.starts_with(introduction) ? introduction.size() : 0);
}

struct allocator_variable {
  const char* name; // a prefix of names where it ends in "_*"
  const char* allocator;
  const char* option; // mete's for the same purpose; null: there is none
};

constexpr std::array<allocator_variable, 16> allocator_variables{{
    {"MALLOC_ARENA_MAX", "glibc", nullptr},
    {"MALLOC_ARENA_TEST", "glibc", nullptr},
    {"MALLOC_TRIM_THRESHOLD_", "glibc", "dirty_limit"},
    {"MALLOC_MMAP_THRESHOLD_", "glibc", "mapping_threshold"},
    {"MALLOC_MMAP_MAX_", "glibc", nullptr},
    {"MALLOC_TOP_PAD_", "glibc", nullptr},
    {"MALLOC_PERTURB_", "glibc", nullptr},
    {"MALLOC_CHECK_", "glibc", nullptr},
    {"MALLOC_CONF", "jemalloc", "decay_ms, dirty_limit or background"},
    {"JE_MALLOC_CONF", "jemalloc", "decay_ms, dirty_limit or background"},
    {"_RJEM_MALLOC_CONF", "jemalloc", "decay_ms, dirty_limit or background"},
    {"MIMALLOC_*", "mimalloc", "decay_ms or huge_pages"},
    {"TCMALLOC_*", "tcmalloc", "thread_cache_bytes or dirty_limit"},
    {"TBB_MALLOC_*", "tbb", "huge_pages or dirty_limit"},
    {"RPMALLOC_*", "rpmalloc", nullptr},
    {"METE_OPTIONS", "mete", nullptr},
}};

const allocator_variable* find_variable(string_view name) {
  for (const allocator_variable& each : allocator_variables) {
    const string_view pattern(each.name);
    const bool prefix = pattern.ends_with("_*");
    if (prefix ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern)
      return &each;
  }
  return nullptr;
}

// mete's option for what a tunable of glibc's does.
const char* option_for_tunable(string_view tunable) {
  if (tunable.starts_with("glibc.malloc.tcache"))
    return "thread_cache_bytes";
  if (tunable == "glibc.malloc.trim_threshold")
    return "dirty_limit";
  if (tunable == "glibc.malloc.mmap_threshold")
    return "mapping_threshold";
  return tunable == "glibc.malloc.hugetlb" ? "huge_pages" : nullptr;
}

bool has_effect(const char* allocator, const variable_reader& reader) {
  return reader.active == allocator ||
         std::find(reader.inside.begin(), reader.inside.end(), allocator) != reader.inside.end();
}

finding say_without_effect(string_view name, const char* allocator, const char* option,
                           const variable_reader& reader) {
  finding found{"variables", level::note,
                fmt::format("{} is set, but it is for {}: it has no effect on {}", name, allocator,
                            reader.active)};
  if (reader.active == "mete" && option != nullptr)
    found.remedy = fmt::format("mete's options for that: {}", option);
  else if (reader.active == "mete" && name.find("ARENA") != name.npos)
    found.remedy = "none is needed: mete has no arenas";
  return found;
}

void check_tunables(string_view tunables, const variable_reader& reader, findings& found) {
  if (has_effect("glibc", reader))
    return;
  while (!tunables.empty()) {
    const std::size_t end = std::min(tunables.find(':'), tunables.size());
    const string_view name = tunables.substr(0, std::min(tunables.find('='), end));
    if (name.starts_with("glibc.malloc."))
      found.push_back(say_without_effect(fmt::format("{} (in GLIBC_TUNABLES)", name), "glibc",
                                         option_for_tunable(name), reader));
    tunables.remove_prefix(std::min(end + 1, tunables.size()));
  }
}

void check_python(const std::vector<std::string>& environment, findings& found) {
  const std::string allocator = variable_in(environment, "PYTHONMALLOC").value_or("");
  if (allocator.starts_with("malloc"))
    found.push_back(
        {"python", level::ok, "PYTHONMALLOC=malloc: all of CPython's objects reach malloc"});
  else
    found.push_back({"python", level::note,
                     "CPython has an allocator of its own for objects up to 512 bytes; malloc sees "
                     "only what that asks for, and larger ones",
                     "set PYTHONMALLOC=malloc to have all of them on malloc"});
}

} // namespace

findings check_mete_options(const std::vector<std::string>& environment,
                            const variable_reader& reader) {
  const std::string text = variable_in(environment, "METE_OPTIONS").value_or("");
  findings found;
  for (const std::string& assignment : assignments_in(text))
    if (const std::string complaint = complaint_about(assignment); !complaint.empty())
      found.push_back({"METE_OPTIONS", level::problem, complaint.substr(0, complaint.find("; ")),
                       remedy_for(assignment)});
  if (!text.empty() && reader.secure)
    found.push_back({"METE_OPTIONS", level::note,
                     "METE_OPTIONS is not looked at: the program gains rights when it is started",
                     "let the program set its options itself, with mete_option_set()"});
  if (found.empty() && !text.empty() && has_effect("mete", reader))
    found.push_back({"METE_OPTIONS", level::ok, fmt::format("METE_OPTIONS is accepted: {}", text)});
  return found;
}

findings check_variables(const std::vector<std::string>& environment,
                         const variable_reader& reader) {
  findings found;
  if (!reader.active.empty())
    for (const std::string& each : environment) {
      const string_view name = string_view(each).substr(0, each.find('='));
      const allocator_variable* const known = find_variable(name);
      if (known != nullptr && !has_effect(known->allocator, reader))
        found.push_back(say_without_effect(name, known->allocator, known->option, reader));
      if (name == "GLIBC_TUNABLES")
        check_tunables(string_view(each).substr(std::min(name.size() + 1, each.size())), reader,
                       found);
    }
  if (reader.python)
    check_python(environment, found);
  return found;
}

} // namespace mete::cli
