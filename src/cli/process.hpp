// Small pieces for starting programs, reading what they say, and seeing which there are.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace mete::cli {

// Closes a file descriptor when it goes.
class descriptor {
public:
  explicit descriptor(int number = -1) : m_number(number) {}
  descriptor(descriptor&& other) noexcept : m_number(std::exchange(other.m_number, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept;
  ~descriptor() { close(); }
  void close();
  int number() const { return m_number; }

private:
  int m_number;
};

// What exec and spawn take: a pointer to each text, then null. They stay valid as long as `texts`.
std::vector<char*> pointers_to(std::vector<std::string>& texts);

// Everything from a descriptor up to its end or an error.
std::string read_all(int descriptor);

// The whole of a small file, such as those of /proc; empty if it cannot be read.
std::string text_of_file(const std::string& path);

// The words as a shell has to see them to take them as they are.
std::string quoted_for_shell(const std::vector<std::string>& words);

// The processes below `ancestor`, from the kernel's table. A process whose parent has ended is
// below whoever reaps it.
std::vector<pid_t> descendants_of(pid_t ancestor);

std::vector<std::string_view> lines_of(std::string_view text);

// The number behind `name` in a text like /proc/PID/status, where `name` begins a line; nothing if
// there is none.
std::optional<std::uint64_t> number_behind(std::string_view text, std::string_view name);

// The number that `text` is, after blanks and before anything else; nothing if it is none ("max").
std::optional<std::uint64_t> leading_number(std::string_view text);

} // namespace mete::cli
