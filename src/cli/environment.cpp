// Merging LD_PRELOAD and METE_OPTIONS. See environment.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/environment.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace mete::cli {
namespace {

constexpr const char* preload_separators = " :";

// The non-empty parts of `text` between any of `separators`.
std::vector<std::string> split(const std::string& text, const char* separators) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find_first_of(separators, start), text.size());
    if (end > start)
      parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

std::string join(const std::vector<std::string>& parts, char separator) {
  std::string joined;
  for (const std::string& part : parts)
    joined += joined.empty() ? part : separator + part;
  return joined;
}

std::string key_of(const std::string& option) {
  return option.substr(0, option.find('='));
}

} // namespace

bool same_file(const std::string& left, const std::string& right) {
  struct stat left_status {};
  struct stat right_status {};
  return left == right ||
         (::stat(left.c_str(), &left_status) == 0 && ::stat(right.c_str(), &right_status) == 0 &&
          left_status.st_dev == right_status.st_dev && left_status.st_ino == right_status.st_ino);
}

std::vector<std::string> preload_entries(const std::string& value) {
  return split(value, preload_separators);
}

std::string merge_preload(const std::string& library, const std::string& existing) {
  std::vector<std::string> entries{library};
  for (const std::string& entry : preload_entries(existing))
    if (!same_file(entry, library))
      entries.push_back(entry);
  return join(entries, ':');
}

bool preloadable(const std::string& library) {
  return library.find_first_of(preload_separators) == std::string::npos;
}

std::string merge_options(const std::string& existing, const std::vector<std::string>& added) {
  std::vector<std::string> options = split(existing, ",");
  for (const std::string& list : added)
    for (const std::string& option : split(list, ",")) {
      std::erase_if(options,
                    [&](const std::string& each) { return key_of(each) == key_of(option); });
      options.push_back(option);
    }
  return join(options, ',');
}

bool is_option_list(const std::string& text) {
  const std::vector<std::string> options = split(text, ",");
  return !options.empty() && std::all_of(options.begin(), options.end(), [](const auto& option) {
    const std::size_t sign = option.find('=');
    return sign != std::string::npos && sign > 0;
  });
}

bool names_option(const std::string& options, const std::string& key) {
  const std::vector<std::string> all = split(options, ",");
  return std::any_of(all.begin(), all.end(),
                     [&](const std::string& option) { return key_of(option) == key; });
}

} // namespace mete::cli
