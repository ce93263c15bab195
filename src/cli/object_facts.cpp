// Looking at symbol tables. See object_facts.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/object_facts.hpp"

#include "cli/candidate.hpp"
#include "cli/preload_check.hpp"
#include "cli/process.hpp"

#include <algorithm>
#include <array>

namespace mete::cli {
namespace {

using std::string_view;

constexpr std::array<string_view, 11> c_functions{
    "malloc",        "free",     "calloc", "realloc", "reallocarray",      "posix_memalign",
    "aligned_alloc", "memalign", "valloc", "pvalloc", "malloc_usable_size"};

struct interface_function {
  const char* allocator;
  const char* symbol;
};

// Names that tell an allocator, also where it is linked in under a prefix.
constexpr std::array<interface_function, 22> interface_functions{{
    {"mete", "mete_version"},
    {"mete", "mete_heap_malloc"},
    {"mete", "mete_collect"},
    {"jemalloc", "je_malloc"},
    {"jemalloc", "_rjem_malloc"},
    {"jemalloc", "mallocx"},
    {"jemalloc", "je_mallocx"},
    {"jemalloc", "_rjem_mallocx"},
    {"jemalloc", "mallctl"},
    {"jemalloc", "je_mallctl"},
    {"jemalloc", "_rjem_mallctl"},
    {"mimalloc", "mi_malloc"},
    {"mimalloc", "mi_heap_malloc"},
    {"tcmalloc", "tc_malloc"},
    {"tcmalloc", "MallocExtension_ReleaseFreeMemory"},
    {"tcmalloc", "TCMallocInternalMalloc"}, // Google's; the others are gperftools'
    {"tbb", "scalable_malloc"},
    {"rpmalloc", "rpmalloc"},
    {"rpmalloc", "rpmalloc_initialize"},
    {"snmalloc", "sn_malloc"},
    {"snmalloc", "sn_rust_alloc"},
    {"snmalloc", "snmalloc_alloc"},
}};

void remember(std::vector<own_function>& functions, const interface_function& found) {
  const bool again = std::any_of(functions.begin(), functions.end(), [&](const auto& other) {
    return other.allocator == found.allocator;
  });
  if (!again)
    functions.push_back({found.allocator, found.symbol});
}

void look_at_symbol(object_facts& facts, string_view name, symbol_use use) {
  for (const interface_function& each : interface_functions)
    if (name == each.symbol && use != symbol_use::weakly_referenced)
      remember(use == symbol_use::defined ? facts.defined : facts.called, each);
}

bool is_of_malloc(string_view name) {
  return std::find(c_functions.begin(), c_functions.end(), name) != c_functions.end();
}

void look_at_symbols(object_facts& facts, std::span<const std::byte> bytes, symbol_table offered) {
  for (const symbol_table table : {symbol_table::dynamic, symbol_table::full_with_local})
    visit_symbols(bytes, table, [&](string_view name, symbol_use use) {
      look_at_symbol(facts, name, use);
      const bool defined = use == symbol_use::defined;
      if (table == offered && defined && (is_new_or_delete(name) || is_of_malloc(name)))
        facts.functions.emplace_back(name);
      facts.calls_malloc |= table == symbol_table::dynamic && !defined && is_of_malloc(name);
      facts.cxx_library_inside |= defined && name == "_ZSt15get_new_handlerv";
    });
  std::sort(facts.functions.begin(), facts.functions.end()); // several versions of one are one
  facts.functions.erase(std::unique(facts.functions.begin(), facts.functions.end()),
                        facts.functions.end());
}

// "GNU C Library (...) stable release version 2.36."
std::string glibc_version(std::span<const std::byte> bytes) {
  const string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  constexpr string_view before = "release version ";
  const std::size_t banner = text.find("GNU C Library (");
  const std::size_t at = banner == text.npos ? banner : text.find(before, banner);
  if (at == text.npos)
    return {};
  const string_view version = text.substr(at + before.size());
  std::string number(version.substr(0, version.find_first_not_of("0123456789.")));
  while (number.ends_with('.'))
    number.pop_back();
  return number;
}

} // namespace

object_facts look_at_object(std::span<const std::byte> bytes, const std::string& path,
                            bool program) {
  object_facts facts;
  facts.path = path;
  auto elf = read_elf(bytes);
  if (!elf)
    return facts;
  facts.known = true;
  facts.elf = std::move(*elf);
  const bool all_symbols = program && facts.elf.interpreter.empty();
  look_at_symbols(facts, bytes,
                  all_symbols ? symbol_table::full_with_local : symbol_table::dynamic);
  if (program || !facts.functions.empty())
    facts.sanitizer = sanitizer_in(bytes);
  if (facts.elf.shared_object_name == "libc.so.6")
    facts.c_library_version = glibc_version(bytes);
  return facts;
}

object_facts read_object(const std::string& readable, const std::string& path, bool program) {
  return look_at_object(mapped_file(readable).bytes(), path, program);
}

bool is_new_or_delete(string_view symbol) {
  const auto take = [&](string_view part) {
    const bool found = symbol.starts_with(part);
    symbol.remove_prefix(found ? part.size() : 0);
    return found;
  };
  const bool is_new = take("_Znw") || take("_Zna");
  if (!is_new && !take("_ZdlPv") && !take("_ZdaPv"))
    return false;
  if (!take("m") && !take("j") && is_new) // std::size_t, of 64 bits and of 32
    return false;
  take("St11align_val_t");
  take("RKSt9nothrow_t");
  return symbol.empty();
}

std::string allocator_name(const object_facts& object) {
  if (std::string known = known_allocator_of(object.path); !known.empty())
    return known;
  if (object.elf.shared_object_name == "libc.so.6")
    return "glibc";
  if (!object.sanitizer.empty())
    return "the " + object.sanitizer + " sanitizer";
  if (!object.defined.empty())
    return object.defined.front().allocator;
  return {};
}

string_view file_name(string_view path) {
  return path.substr(path.rfind('/') + 1);
}

} // namespace mete::cli
