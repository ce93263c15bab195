// Small pieces for starting programs and reading what they say.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mete::cli {

// What exec and spawn take: a pointer to each text, then null. They stay valid as long as `texts`.
std::vector<char*> pointers_to(std::vector<std::string>& texts);

// Everything from a descriptor up to its end or an error.
std::string read_all(int descriptor);

// A whole file, such as one of /proc; empty if it cannot be read.
std::string text_of_file(const std::string& path);

std::vector<std::string_view> lines_of(std::string_view text);

// The number behind `name` in a text like /proc/PID/status, where `name` begins a line; nothing if
// there is none.
std::optional<std::uint64_t> number_behind(std::string_view text, std::string_view name);

// The number that `text` is, after blanks and before anything else; nothing if it is none ("max").
std::optional<std::uint64_t> leading_number(std::string_view text);

} // namespace mete::cli
