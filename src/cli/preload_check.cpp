// Can a preloaded allocator work in this program? See preload_check.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/preload_check.hpp"

#include "cli/command.hpp"
#include "cli/operator_checks.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <linux/capability.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace mete::cli {
namespace {

using std::string_view;

bool starts_with_any(string_view text, std::initializer_list<string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](string_view prefix) { return text.starts_with(prefix); });
}

string_view base_name(string_view path) {
  return path.substr(path.rfind('/') + 1);
}

struct sanitizer {
  const char* name;    // as in -fsanitize=
  const char* symbol;  // every program built with it needs or holds this one
  const char* library; // GCC's shared runtime
  const char* runtime; // Clang's, with -shared-libsan
};

// Those that bring an allocator of their own; UBSan does not and runs on mete.
constexpr std::array<sanitizer, 5> sanitizers{{
    {"address", "__asan_init", "libasan.so", "libclang_rt.asan"},
    {"thread", "__tsan_init", "libtsan.so", "libclang_rt.tsan"},
    {"memory", "__msan_init", "libmsan.so", "libclang_rt.msan"},
    {"leak", "__lsan_init", "liblsan.so", "libclang_rt.lsan"},
    {"hwaddress", "__hwasan_init", "libhwasan.so", "libclang_rt.hwasan"},
}};

// What the symbol tables say about who provides malloc.
struct symbol_facts {
  const sanitizer* instrumented_by = nullptr;
  bool own_malloc = false; // defined by the program, where the loader looks first
  bool own_mete = false;
};

symbol_facts look_at_symbols(std::span<const std::byte> bytes) {
  symbol_facts facts;
  const auto note_sanitizer = [&](string_view name, symbol_use use) {
    // A weak reference only asks whether the sanitizer is there.
    if (use == symbol_use::weakly_referenced || !name.starts_with("__"))
      return;
    for (const sanitizer& each : sanitizers)
      if (name == each.symbol)
        facts.instrumented_by = &each;
  };
  visit_symbols(bytes, symbol_table::full, note_sanitizer);
  visit_symbols(bytes, symbol_table::dynamic, [&](string_view name, symbol_use use) {
    note_sanitizer(name, use);
    facts.own_malloc |= use == symbol_use::defined && name == "malloc";
    facts.own_mete |= use == symbol_use::defined && name == "mete_version";
  });
  return facts;
}

const sanitizer* sanitizer_of(const elf_file& file, const symbol_facts& symbols) {
  for (const std::string& needed : file.needed)
    for (const sanitizer& each : sanitizers)
      if (starts_with_any(base_name(needed), {each.library, each.runtime}))
        return &each;
  return symbols.instrumented_by;
}

// The loader can be called by hand, with a program as its argument; it preloads like any other.
bool is_loader(const elf_file& file) {
  return starts_with_any(file.shared_object_name, {"ld-linux", "ld64.so", "ld.so"});
}

std::optional<obstacle> find_obstacle(const elf_file& file, const symbol_facts& symbols,
                                      const std::string& name, const elf_identity& library) {
  const auto failed = [](const std::string& message) { return obstacle{status_failed, message}; };
  if (!file.is_program_or_library())
    return obstacle{status_not_executable,
                    fmt::format("'{}' is an ELF file but not a program; link it first", name)};
  if (file.identity != library)
    return failed(fmt::format("'{}' is built for {} and the library for {}; name a libmete.so for "
                              "{} with --library",
                              name, file.identity.name(), library.name(), file.identity.name()));
  if (!file.readable)
    return std::nullopt;
  if (file.interpreter.empty() && !is_loader(file))
    return failed(
        fmt::format("'{}' is statically linked, so nothing can be preloaded into it; link "
                    "it dynamically, or build it with libmete.a",
                    name));
  if (base_name(file.interpreter).starts_with("ld-musl"))
    return failed(fmt::format("'{}' is built for the C library musl and libmete.so for glibc; "
                              "build the program for glibc",
                              name));
  if (!file.interpreter.empty() && ::access(file.interpreter.c_str(), F_OK) != 0)
    return obstacle{status_not_found,
                    fmt::format("'{}' needs the loader '{}', which does not exist; install the C "
                                "library that it was built for",
                                name, file.interpreter)};
  if (const sanitizer* found = sanitizer_of(file, symbols))
    return failed(fmt::format("'{}' is built with -fsanitize={}, which needs its own malloc; build "
                              "it without",
                              name, found->name));
  if (symbols.own_malloc && !symbols.own_mete)
    return failed(fmt::format("'{}' contains a malloc of its own, which comes before any preloaded "
                              "one; build it with the system's",
                              name));
  return std::nullopt;
}

std::vector<std::string> find_notes(const elf_file& file, const symbol_facts& symbols,
                                    const std::string& name) {
  std::vector<std::string> notes;
  for (const std::string& needed : file.needed) {
    if (starts_with_any(base_name(needed), {"libjemalloc", "libtcmalloc", "libmimalloc",
                                            "libtbbmalloc", "libsnmalloc", "librpmalloc"}))
      notes.push_back(
          fmt::format("'{}' links {}; mete is preloaded before it and wins", name, needed));
    if (base_name(needed).starts_with("libmete.so"))
      notes.push_back(fmt::format("'{}' links libmete.so already", name));
  }
  if (symbols.own_mete)
    notes.push_back(fmt::format("'{}' contains mete already and uses that one", name));
  return notes;
}

// Whether the kernel would let `image` gain rights by file capabilities.
bool gains_capabilities(const std::string& image) {
  vfs_ns_cap_data data{};
  const ssize_t size = ::getxattr(image.c_str(), "security.capability", &data, sizeof data);
  if (size < static_cast<ssize_t>(XATTR_CAPS_SZ_1) || ::getuid() == 0)
    return false; // root has them all without the file
  return (data.magic_etc & VFS_CAP_FLAGS_EFFECTIVE) != 0 || data.data[0].permitted != 0 ||
         data.data[1].permitted != 0;
}

} // namespace

std::string gained_rights(const std::string& image) {
  struct stat status {};
  struct statvfs mount {};
  if (::stat(image.c_str(), &status) != 0 || ::statvfs(image.c_str(), &mount) != 0)
    return {};
  if ((mount.f_flag & ST_NOSUID) != 0 || ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
    return {}; // then the kernel ignores all of it
  const bool setgid = (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != ::getuid())
    return "is setuid";
  if (setgid && status.st_gid != ::getgid())
    return "is setgid";
  return gains_capabilities(image) ? "has file capabilities" : "";
}

std::string sanitizer_in(std::span<const std::byte> bytes) {
  const auto file = read_elf(bytes);
  const sanitizer* const found = file ? sanitizer_of(*file, look_at_symbols(bytes)) : nullptr;
  return found != nullptr ? found->name : "";
}

preload_check check_preload_in(std::span<const std::byte> bytes, const std::string& name,
                               const elf_identity& library) {
  preload_check result;
  const auto file = read_elf(bytes);
  if (!file) {
    result.hindrance = obstacle{
        status_not_executable,
        fmt::format("'{}' is neither a program (ELF) nor a script; name the program itself", name)};
    return result;
  }
  const symbol_facts symbols = look_at_symbols(bytes);
  result.hindrance = find_obstacle(*file, symbols, name, library);
  result.notes = find_notes(*file, symbols, name);
  if (const object_facts facts = look_at_object(bytes, name, true); replaces_operators(facts))
    result.notes.push_back(say_whose_operators(facts, "mete"));
  return result;
}

preload_check check_preload(const std::string& image, const elf_identity& library) {
  const mapped_file file(image);
  preload_check result;
  if (file.error() != 0)
    result.notes.push_back(fmt::format("'{}' cannot be read ({}), so it was not checked", image,
                                       std::strerror(file.error())));
  else
    result = check_preload_in(file.bytes(), image, library);
  if (const std::string how = gained_rights(image); !how.empty() && !result.hindrance)
    result.hindrance = obstacle{
        status_failed, fmt::format("'{}' {}, so the loader ignores LD_PRELOAD; run a copy of it "
                                   "without that, or run it as its owner",
                                   image, how)};
  return result;
}

} // namespace mete::cli
