// SPDX-License-Identifier: MIT
#include "cli/candidate.hpp"

#include "cli/command.hpp"
#include "cli/environment.hpp"
#include "cli/library.hpp"
#include "cli/process.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gnu/libc-version.h>
#include <memory>
#include <mete/mete.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

struct known_allocator {
  const char* name;
  const char* prefix; // of the library's file name
  std::array<const char*, 3> files;
  const char* package; // Debian's
};

constexpr std::array<known_allocator, 7> known_allocators{{
    {"mete", "libmete.so", {"libmete.so.0"}, "mete"},
    {"mimalloc",
     "libmimalloc",
     {"libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so.2.0"},
     "libmimalloc2.0"},
    {"jemalloc", "libjemalloc", {"libjemalloc.so.2"}, "libjemalloc2"},
    {"tcmalloc",
     "libtcmalloc",
     {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"},
     "libtcmalloc-minimal4"},
    {"tbb", "libtbbmalloc_proxy", {"libtbbmalloc_proxy.so.2"}, "libtbbmalloc2"},
    {"snmalloc", "libsnmalloc", {"libsnmallocshim.so"}, nullptr},
    {"rpmalloc", "librpmalloc", {"librpmalloc.so"}, nullptr},
}};

struct close_process {
  void operator()(FILE* stream) const { ::pclose(stream); }
};

// What a command prints on standard output; empty if it cannot be run.
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, close_process> stream(::popen(command.c_str(), "re"));
  std::string text;
  std::array<char, 4096> buffer;
  while (stream != nullptr) {
    const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), stream.get());
    if (count == 0)
      break;
    text.append(buffer.data(), count);
  }
  return text;
}

// The loader's cache knows every folder that is configured; the usual ones are tried beside it,
// because only root's ldconfig renews it.
std::string find_library_file(const char* file) {
  static const std::string cache = output_of("PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null");
  const std::string entry = fmt::format("\t{} (", file);
  if (const std::size_t at = cache.find(entry); at != std::string::npos) {
    const std::size_t arrow = cache.find("=> ", at);
    const std::size_t end = cache.find('\n', at);
    if (arrow < end)
      return cache.substr(arrow + 3, end - arrow - 3);
  }
  for (const std::string& folder :
       {fmt::format("/usr/lib/{}", METE_MULTIARCH), std::string("/usr/lib64"),
        std::string("/usr/local/lib"), std::string("/usr/lib")}) {
    std::error_code error;
    if (const fs::path path = fs::path(folder) / file; fs::exists(path, error))
      return path.string();
  }
  return {};
}

std::string find_installed(const known_allocator& known) {
  for (const char* file : known.files)
    if (file != nullptr)
      if (std::string path = find_library_file(file); !path.empty())
        return path;
  return {};
}

std::string missing_line(const known_allocator& known) {
  return known.package == nullptr
             ? fmt::format("{} is not installed; name its library by path", known.name)
             : fmt::format("{} is not installed: apt-get install {}", known.name, known.package);
}

candidate make_candidate(const std::string& name, const std::string& library) {
  if (!preloadable(library))
    throw command_error(status_usage,
                        fmt::format("LD_PRELOAD cannot name '{}', because of the blank or colon "
                                    "in it; copy the library to another folder",
                                    library));
  return {name, library, package_version(library)};
}

} // namespace

std::string installed_version(const std::string& package) {
  if (package.empty() || package.find_first_of("'\n") != std::string::npos)
    return {};
  return output_of(fmt::format("dpkg-query -W -f '${{Version}}' '{}' 2>/dev/null", package));
}

std::string package_version(const std::string& library) {
  std::error_code error;
  const std::string file = fs::canonical(library, error).string();
  if (error || file.find('\'') != std::string::npos)
    return {};
  std::string owner = output_of(fmt::format("dpkg-query -S '{}' 2>/dev/null", file));
  owner.resize(std::min(owner.find(": /"), owner.size()));
  return installed_version(owner);
}

candidate find_candidate(const std::string& name, const std::string& mete_library) {
  if (name == "glibc")
    return {name, "", ::gnu_get_libc_version()};
  if (name == "mete")
    return {name, find_library(mete_library).path, METE_VERSION};
  if (name == "as-shipped")
    return {name, "", "", true};
  std::vector<std::string> names{"glibc", "as-shipped"};
  for (const known_allocator& known : known_allocators) {
    names.emplace_back(known.name);
    if (name != known.name)
      continue;
    const std::string library = find_installed(known);
    if (library.empty())
      throw command_error(status_usage, missing_line(known));
    return make_candidate(name, library);
  }
  if (name.find('/') == std::string::npos)
    throw command_error(status_usage,
                        fmt::format("no allocator is called '{}'; there are {}, and paths of "
                                    "shared libraries (with a slash)",
                                    name, fmt::join(names, ", ")));
  std::string path;
  try {
    path = find_library(name).path;
  } catch (const command_error& error) {
    throw command_error(status_usage, error.what());
  }
  std::string short_name = fs::path(path).filename().string();
  short_name.resize(std::min(short_name.find(".so"), short_name.size()));
  return make_candidate(short_name, path);
}

usual_candidates find_usual_candidates(const std::string& mete_library) {
  usual_candidates result;
  result.found.push_back(find_candidate("glibc", ""));
  result.found.push_back(find_candidate("mete", mete_library));
  for (const known_allocator& known : known_allocators) {
    if (known.name == std::string_view("mete"))
      continue;
    if (const std::string library = find_installed(known); !library.empty())
      result.found.push_back(make_candidate(known.name, library));
    else if (known.package != nullptr)
      result.missing.push_back(missing_line(known));
  }
  return result;
}

std::string c_library_path() {
  Dl_info where{};
  ::dladdr(reinterpret_cast<const void*>(&::gnu_get_libc_version), &where);
  return where.dli_fname;
}

std::string known_allocator_of(std::string_view path) {
  const std::string_view file = path.substr(path.rfind('/') + 1);
  for (const known_allocator& known : known_allocators)
    if (file.starts_with(known.prefix))
      return known.name;
  return {};
}

} // namespace mete::cli
