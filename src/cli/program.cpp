// Finding the image that runs in the end. See program.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/program.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace mete::cli {
namespace {

// The kernel reads as much of a script's first line (BINPRM_BUF_SIZE).
constexpr std::size_t script_start_bytes = 256;
// It follows 5 scripts; a chain with env in it may be longer, and one of 16 goes in circles.
constexpr int longest_chain = 16;

enum class file_state { executable, absent, unreachable, denied, directory };

file_state state_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    return errno == EACCES ? file_state::unreachable : file_state::absent;
  if (S_ISDIR(status.st_mode))
    return file_state::directory;
  const bool allowed = ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
  return S_ISREG(status.st_mode) && allowed ? file_state::executable : file_state::denied;
}

std::string search_path() {
  if (const char* path = std::getenv("PATH"))
    return path;
  std::string standard(::confstr(_CS_PATH, nullptr, 0), '\0');
  ::confstr(_CS_PATH, standard.data(), standard.size());
  standard.pop_back(); // the terminating zero
  return standard;
}

[[noreturn]] void throw_unusable(const std::string& name, file_state state) {
  if (state == file_state::directory)
    throw command_error(status_not_executable,
                        fmt::format("'{}' is a directory; name a program in it", name));
  if (state == file_state::unreachable)
    throw command_error(
        status_not_executable,
        fmt::format("'{}' is in a folder that you may not search; run it as a user who may", name));
  throw command_error(
      status_not_executable,
      fmt::format("'{0}' is not an executable file; allow it with: chmod +x {0}", name));
}

// As execvp(3): a file that may not be executed is remembered, and the search goes on. Unlike it, a
// folder that may not be searched counts as empty, as in the shells: "permission denied" would be
// said of a file that nobody has seen.
std::string look_up(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    const file_state state = state_of(name);
    if (state == file_state::absent)
      throw command_error(status_not_found,
                          fmt::format("'{}' does not exist; check the path", name));
    if (state != file_state::executable)
      throw_unusable(name, state);
    return name;
  }
  std::string refused;
  const std::string folders = search_path();
  for (std::size_t start = 0; !name.empty() && start <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', start), folders.size());
    const std::string folder = folders.substr(start, end - start);
    const std::string path = (folder.empty() ? "." : folder) + "/" + name;
    const file_state state = state_of(path);
    if (state == file_state::executable)
      return path;
    const bool nothing_seen = state == file_state::absent || state == file_state::unreachable;
    if (!nothing_seen && refused.empty())
      refused = path;
    start = end + 1;
  }
  if (!refused.empty())
    throw_unusable(refused, state_of(refused));
  throw command_error(status_not_found,
                      fmt::format("'{}' is in no folder of PATH; name it by its path", name));
}

// Nothing when the file may be executed but not read.
std::optional<std::string> start_of(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return std::nullopt;
  std::string start(script_start_bytes, '\0');
  const ssize_t count = ::pread(descriptor, start.data(), start.size(), 0);
  ::close(descriptor);
  start.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return start;
}

bool is_elf(const std::string& start) {
  return start.starts_with("\177ELF");
}

bool is_env(const std::string& path) {
  return path.substr(path.rfind('/') + 1) == "env";
}

// A program on its way to the image: the arguments it will see and its file.
struct chain_link {
  std::string path;
  std::vector<std::string> arguments;
};

// What runs `script`, or nothing when that is to be seen as an image.
std::optional<chain_link> behind_script(const chain_link& script, const std::string& start,
                                        bool& for_shell) {
  chain_link next;
  if (start.starts_with("#!")) {
    const script_line line = parse_script_line(start);
    if (state_of(line.interpreter) == file_state::absent)
      throw command_error(status_not_found,
                          fmt::format("'{}' needs the interpreter '{}', which does not exist; "
                                      "install it or correct the script's first line",
                                      script.path, line.interpreter));
    next.path = look_up(line.interpreter.find('/') == std::string::npos ? "./" + line.interpreter
                                                                        : line.interpreter);
    next.arguments = {line.interpreter};
    if (!line.argument.empty())
      next.arguments.push_back(line.argument);
  } else if (start.find('\0') == std::string::npos && !is_elf(start)) {
    for_shell = true;
    next.path = "/bin/sh"; // text without "#!": execvp(3) hands it to the shell
    next.arguments = {next.path};
  } else {
    return std::nullopt;
  }
  next.arguments.push_back(script.path);
  next.arguments.insert(next.arguments.end(), script.arguments.begin() + 1, script.arguments.end());
  return next;
}

// What the env(1) at `link` would run, or nothing when that is env's own business to say.
std::optional<chain_link> behind_env(const chain_link& link, bool& environment_dropped) {
  env_call call = parse_env_call({link.arguments.begin() + 1, link.arguments.end()});
  if (call.program.empty())
    return std::nullopt;
  try {
    chain_link next{look_up(call.program.front()), call.program};
    environment_dropped = environment_dropped || call.drops_preload;
    return next;
  } catch (const command_error&) {
    return std::nullopt; // env will report it in its own words
  }
}

// The words of env's -S: blanks separate, single and double quotes and backslashes keep. Nothing
// when it uses what only env can tell: variables and escapes other than of a blank or a quote.
std::optional<std::vector<std::string>> split_words(const std::string& text) {
  std::vector<std::string> words;
  bool inside = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char letter = text[i];
    if (letter == '$' && quote != '\'')
      return std::nullopt;
    if (quote == 0 && (letter == ' ' || letter == '\t')) {
      inside = false;
      continue;
    }
    if (!inside)
      words.emplace_back();
    inside = true;
    if (letter == quote) {
      quote = 0;
    } else if (quote == 0 && (letter == '\'' || letter == '"')) {
      quote = letter;
    } else if (letter == '\\' && quote != '\'') {
      if (++i == text.size() || std::string(" \"'\\").find(text[i]) == std::string::npos)
        return std::nullopt;
      words.back() += text[i];
    } else {
      words.back() += letter;
    }
  }
  return words;
}

} // namespace

script_line parse_script_line(const std::string& start) {
  constexpr const char* blanks = " \t";
  std::string line = start.substr(2, start.find_first_of(std::string("\n\0", 2), 2) - 2);
  line.erase(line.find_last_not_of(blanks) + 1);
  const std::size_t begin = std::min(line.find_first_not_of(blanks), line.size());
  const std::size_t end = std::min(line.find_first_of(blanks, begin), line.size());
  const std::size_t argument = std::min(line.find_first_not_of(blanks, end), line.size());
  return {line.substr(begin, end - begin), line.substr(argument)};
}

env_call parse_env_call(std::vector<std::string> arguments) {
  env_call call;
  std::size_t i = 0;
  const auto split_in_place = [&](const std::string& text, std::size_t replaced) {
    const auto words = split_words(text);
    if (!words)
      return false;
    const auto first = arguments.begin() + static_cast<std::ptrdiff_t>(i);
    const auto at = arguments.erase(first, first + static_cast<std::ptrdiff_t>(replaced));
    arguments.insert(at, words->begin(), words->end());
    return true;
  };
  while (i < arguments.size()) {
    const std::string argument = arguments[i];
    if (argument == "--") {
      ++i;
      break;
    }
    if (argument == "-i" || argument == "-" || argument == "--ignore-environment") {
      call.drops_preload = true;
      ++i;
    } else if (argument == "-u" || argument == "--unset") {
      if (i + 1 == arguments.size())
        return {};
      call.drops_preload = call.drops_preload || arguments[i + 1] == "LD_PRELOAD";
      i += 2;
    } else if (argument == "-v" || argument == "--debug") {
      ++i;
    } else if (argument == "-S" || argument == "--split-string") {
      if (i + 1 == arguments.size() || !split_in_place(arguments[i + 1], 2))
        return {};
    } else if (argument.starts_with("-S")) {
      if (!split_in_place(argument.substr(2), 1))
        return {};
    } else if (argument.starts_with('-')) {
      return {}; // one that may change the folder, or that is not known here
    } else {
      break;
    }
  }
  for (; i < arguments.size() && arguments[i].find('=') != std::string::npos; ++i) {
    if (arguments[i].starts_with("PATH="))
      return {}; // env looks the program up there
    if (arguments[i].starts_with("LD_PRELOAD="))
      call.drops_preload = true;
  }
  call.program.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
  return call;
}

program_file find_program(const std::vector<std::string>& arguments) {
  chain_link link{look_up(arguments.front()), arguments};
  program_file result;
  result.path = link.path;
  for (int length = 0; length < longest_chain; ++length) {
    const auto start = start_of(link.path);
    std::optional<chain_link> next;
    if (start && is_elf(*start) && is_env(link.path))
      next = behind_env(link, result.environment_dropped);
    else if (start)
      next = behind_script(link, *start, result.for_shell);
    if (!next) {
      result.image = link.path;
      return result;
    }
    link = *next;
  }
  throw command_error(
      status_not_executable,
      fmt::format("the scripts behind '{}' call each other in a circle; correct their first lines",
                  arguments.front()));
}

} // namespace mete::cli
