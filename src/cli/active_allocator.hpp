// Which file provides malloc: the rules of the dynamic loader, applied to the files of a process.
//
// A symbol is looked up in the program first, then in what is preloaded, then in what they link,
// breadth first, and last in what was opened with dlopen(); the first that defines it provides it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/object_facts.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mete::cli {

struct placed_object {
  object_facts facts;
  std::uint64_t start = 0; // its lowest address
};

// Whether an entry of LD_PRELOAD is the file at `path`, by what both look like: it is enough for
// files that were replaced since. `entry` without a slash is a name in any folder.
bool names_same_library(const std::string& entry, const std::string& path);

// Puts objects into the order in which symbols are looked up. The first one is the program, the
// others come by address. `preloaded` holds indices in the order of LD_PRELOAD. Where that is not
// known, those count as preloaded that lie above everything the program links: the kernel hands out
// addresses downwards, and the loader begins with what is preloaded.
std::vector<object_facts> in_search_order(std::vector<placed_object> objects,
                                          const std::optional<std::vector<std::size_t>>& preloaded);

// For each function of allocation, the index of the object that provides it.
std::map<std::string, std::size_t> find_providers(const std::vector<object_facts>& objects);

// "/usr/lib/libmete.so.0 (mete 0.1.0)": path, name and version, as far as they are known.
// `look_up_package`: the file is the one that this machine's packages know.
std::string describe(const object_facts& object, bool look_up_package);

} // namespace mete::cli
