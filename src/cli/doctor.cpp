// `mete doctor`. See doctor.hpp and docs/mete-doctor.md.
//
// SPDX-License-Identifier: MIT
#include "cli/doctor.hpp"

#include "cli/checks.hpp"
#include "cli/command.hpp"
#include "cli/subject.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>

namespace mete::cli {
namespace {

constexpr const char* doctor_name = "doctor";
constexpr int status_problem = 1;
constexpr std::size_t columns = 100;
constexpr std::size_t level_columns = 9;

struct doctor_options {
  std::optional<std::string> process_text;
  std::optional<pid_t> process;
  std::string library;
  bool json = false;
  bool program_named = false;
  std::vector<std::string> program;
};

std::unique_ptr<CLI::App> make_doctor_parser(doctor_options& options) {
  auto parser = make_parser("Says which allocator a process or program really uses, and what is in "
                            "its way.\nWithout either, what a program started from here would get.",
                            "mete doctor [options] [PID | -- program args...]");
  parser->add_option("pid", options.process_text, "The process to look at")->type_name("PID");
  parser->add_flag("--json", options.json, "Print a JSON document");
  parser->add_option("-l,--library", options.library, "The libmete.so that mete run would use")
      ->type_name("PATH");
  parser->footer(
      "Exit status: 0 without a problem, 1 with one; 2 for a wrong call or a process that\n"
      "may not be looked at; 126 and 127 when the program cannot be executed or found.\n\n"
      "Example: mete doctor -- redis-server --port 7000");
  return parser;
}

pid_t process_id(const std::string& text) {
  pid_t process = 0;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, process);
  if (result.ec != std::errc() || result.ptr != end || process <= 0)
    throw command_error(status_usage, fmt::format("'{}' is no process id; to look at a program: "
                                                  "mete doctor -- {}",
                                                  text, text));
  return process;
}

void parse(CLI::App& parser, doctor_options& options, const std::vector<std::string>& arguments) {
  // Not as other commands do it: the first word that is no option is the process.
  const auto marker = std::find(arguments.begin(), arguments.end(), "--");
  options.program_named = marker != arguments.end();
  if (options.program_named)
    options.program.assign(marker + 1, arguments.end());
  std::vector<std::string> own(arguments.begin(), marker);
  std::reverse(own.begin(), own.end()); // last one first
  parser.parse(own);
  if (options.program_named && options.program.empty())
    throw command_error(status_usage, "no program named; try: mete doctor -- program args...");
  if (options.program_named && options.process_text)
    throw command_error(status_usage, "name a process or a program, not both");
  if (options.process_text)
    options.process = process_id(*options.process_text);
}

subject look(const doctor_options& options) {
  if (options.program_named)
    return look_at_program(options.program);
  return options.process ? look_at_process(*options.process) : look_at_environment();
}

struct level_words {
  const char* name;
  const char* colour;
};

level_words words_for(level how) {
  switch (how) {
  case level::ok:
    return {"ok", "\033[32m"};
  case level::note:
    return {"note", "\033[33m"};
  case level::problem:
    break;
  }
  return {"problem", "\033[31m"};
}

std::size_t count(const findings& found, level how) {
  return static_cast<std::size_t>(std::count_if(
      found.begin(), found.end(), [&](const finding& each) { return each.how == how; }));
}

// What comes from other processes must not steer the terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char letter) { return static_cast<unsigned char>(letter) < ' ' || letter == '\177'; },
      '?');
  return text;
}

// Breaks a text at blanks; lines after the first are indented as far as it begins.
std::string wrapped(const std::string& text, std::size_t indent) {
  std::string result;
  std::size_t used = indent;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::size_t length = end - at;
    if (used > indent && used + 1 + length > columns) {
      result += '\n' + std::string(indent, ' ');
      used = indent;
    } else if (used > indent) {
      result += ' ';
      ++used;
    }
    result.append(text, at, length);
    used += length;
    at = end + 1;
  }
  return result;
}

void print_text(const subject& whose, const findings& found, bool colours) {
  const std::string indent(level_columns, ' ');
  fmt::print("{}\n", printable(whose.title));
  for (const finding& each : found) {
    const level_words words = words_for(each.how);
    fmt::print("{}{:<{}}{}{}\n", colours ? words.colour : "", words.name, level_columns,
               colours ? "\033[0m" : "", wrapped(printable(each.message), level_columns));
    if (!each.remedy.empty())
      fmt::print("{}remedy: {}\n", indent, wrapped(printable(each.remedy), level_columns + 8));
  }
  const auto counted = [](std::size_t number, const char* what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
  };
  fmt::print("{}, {}\n", counted(count(found, level::problem), "problem"),
             counted(count(found, level::note), "note"));
}

void print_json(const subject& whose, const findings& found, const doctor_options& options) {
  using json = nlohmann::ordered_json;
  json root;
  json& seen = root["looked_at"];
  seen["kind"] = whose.is_process()                    ? "process"
                 : whose.kind == subject_kind::program ? "program"
                                                       : "environment";
  if (options.process)
    seen["process"] = *options.process;
  if (options.program_named)
    seen["program"] = options.program;
  seen["executable"] = whose.executable;
  json& libraries = seen["libraries"] = json::array();
  for (std::size_t index = 1; index < whose.objects.size(); ++index)
    libraries.push_back(whose.objects[index].path);
  json& checks = root["checks"] = json::array();
  for (const finding& each : found)
    checks.push_back({{"name", each.name},
                      {"level", words_for(each.how).name},
                      {"message", each.message},
                      {"remedy", each.remedy}});
  fmt::print("{}\n", root.dump(1, ' ', false, json::error_handler_t::replace));
}

int examine(const doctor_options& options) {
  const subject whose = look(options);
  const findings found = check_all(whose, options.library);
  if (options.json)
    print_json(whose, found, options);
  else
    print_text(whose, found, ::isatty(1) != 0);
  return count(found, level::problem) == 0 ? 0 : status_problem;
}

} // namespace

int doctor_command(const std::vector<std::string>& arguments) {
  doctor_options options;
  const auto parser = make_doctor_parser(options);
  return call_reporting(doctor_name, *parser, status_usage, [&] {
    parse(*parser, options, arguments);
    return examine(options);
  });
}

} // namespace mete::cli
