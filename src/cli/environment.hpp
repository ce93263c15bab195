// The two variables that put a program on mete: LD_PRELOAD and METE_OPTIONS.
//
// What is there already stays: other preloaded libraries after ours, options that are not named
// again. Pure functions of strings; nothing here reads or changes the environment.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

// The value of LD_PRELOAD with `library` first, and only once however it is spelled there.
// REQUIRES: preloadable(library).
std::string merge_preload(const std::string& library, const std::string& existing);

// The entries of a value of LD_PRELOAD.
std::vector<std::string> preload_entries(const std::string& value);

// Whether two paths lead to the same file.
bool same_file(const std::string& left, const std::string& right);

// LD_PRELOAD separates its entries by blanks and colons and has no way to quote them.
bool preloadable(const std::string& library);

// The value of METE_OPTIONS: `existing`, then `added` ("key=value", or several of them separated by
// commas). A key stands once, with the value that was named last.
std::string merge_options(const std::string& existing, const std::vector<std::string>& added);

// Whether `text` is "key=value", or several separated by commas, each with a key.
bool is_option_list(const std::string& text);

// Whether a list of options names `key`.
bool names_option(const std::string& options, const std::string& key);

} // namespace mete::cli
