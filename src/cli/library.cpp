// Finding libmete.so. See library.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/library.hpp"

#include "cli/command.hpp"
#include "cli/environment.hpp"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <vector>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* library_name = "libmete.so";

std::vector<fs::path> places() {
  std::vector<fs::path> found;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path prefix = self.parent_path().parent_path();
    found.push_back(prefix / "lib");
    if (std::strlen(METE_MULTIARCH) > 0)
      found.push_back(prefix / "lib" / METE_MULTIARCH);
    found.push_back(prefix / "lib64");
  }
  const fs::path installed = METE_INSTALL_LIBDIR;
  if (std::find(found.begin(), found.end(), installed) == found.end())
    found.push_back(installed);
  return found;
}

std::string search() {
  std::vector<std::string> tried;
  for (const fs::path& place : places()) {
    const fs::path candidate = place / library_name;
    std::error_code error;
    if (fs::exists(candidate, error))
      return candidate.string();
    tried.push_back(candidate.string());
  }
  throw command_error(status_failed,
                      fmt::format("found no {}; name it with --library PATH (tried {})",
                                  library_name, fmt::join(tried, ", ")));
}

// The folder without symbolic links, because the program may change its own; the name as it is, so
// that an upgrade behind the link libmete.so does not break what inherits the environment.
std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  const fs::path folder = fs::canonical(whole.parent_path(), error);
  return error ? whole.string() : (folder / whole.filename()).string();
}

} // namespace

preload_library find_library(const std::string& named) {
  preload_library library;
  library.path = absolute(named.empty() ? search() : named);
  const mapped_file file(library.path);
  if (file.error() != 0)
    throw command_error(
        status_failed, fmt::format("cannot read the library '{}' ({}); name another with --library",
                                   library.path, std::strerror(file.error())));
  const auto elf = read_elf(file.bytes());
  if (!elf || elf->type != ET_DYN || !elf->interpreter.empty())
    throw command_error(
        status_failed,
        fmt::format("'{}' is not a shared library; name libmete.so with --library", library.path));
  if (!preloadable(library.path))
    throw command_error(
        status_failed,
        fmt::format("LD_PRELOAD cannot name '{}', because of the blank or colon in it; copy the "
                    "library to another folder and name it with --library",
                    library.path));
  library.identity = elf->identity;
  return library;
}

} // namespace mete::cli
