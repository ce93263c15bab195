// Shared parts of the subcommands. See command.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/command.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>

namespace mete::cli {
namespace {

// CLI11's own usage line cannot say "-- program args...".
class help_formatter : public CLI::Formatter {
public:
  explicit help_formatter(std::string usage) : usage_(std::move(usage)) { column_width(26); }

  std::string make_usage(const CLI::App*, std::string) const override {
    return "\nUsage: " + usage_ + "\n";
  }

  // What stands for the value, without its bounds: who names a wrong one is told them.
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string name = option->get_type_name(); // "N:INT in [1 - 10]"
    return name.empty() ? "" : " " + name.substr(0, name.find(':'));
  }

private:
  std::string usage_;
};

bool takes_value(const CLI::App& parser, const std::string& name) {
  const CLI::Option* option = parser.get_option_no_throw(name);
  return option != nullptr && option->get_items_expected_max() > 0;
}

// Whether the value of the last option in `argument` is the argument after it.
bool value_follows(const CLI::App& parser, const std::string& argument) {
  if (argument.starts_with("--")) // --name or --name=value
    return argument.find('=') == std::string::npos && takes_value(parser, argument);
  for (std::size_t i = 1; i < argument.size(); ++i) // -a, -abc, -Ovalue
    if (takes_value(parser, std::string("-") + argument[i]))
      return i + 1 == argument.size();
  return false;
}

} // namespace

void report(const std::string& command, const std::string& message) {
  fmt::print(stderr, "mete {}: {}\n", command, message);
}

std::unique_ptr<CLI::App> make_parser(const std::string& description, const std::string& usage) {
  auto parser = std::make_unique<CLI::App>(description);
  parser->formatter(std::make_shared<help_formatter>(usage));
  parser->set_help_flag("-h,--help", "Print this help");
  return parser;
}

int call_reporting(const std::string& command, const CLI::App& parser, int wrong_use,
                   const std::function<int()>& work) {
  try {
    return work();
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", parser.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    report(command, fmt::format("{}; see: mete {} --help", error.what(), command));
    return wrong_use;
  } catch (const command_error& error) {
    report(command, error.what());
    return error.status();
  }
}

split_arguments split_at_program(const CLI::App& parser,
                                 const std::vector<std::string>& arguments) {
  std::size_t own = 0;
  while (own < arguments.size()) {
    const std::string& argument = arguments[own];
    if (argument == "--" || argument.size() < 2 || argument[0] != '-')
      break;
    own += value_follows(parser, argument) ? 2 : 1;
  }
  own = std::min(own, arguments.size());
  const bool marked = own < arguments.size() && arguments[own] == "--";
  const auto begin = arguments.begin();
  const auto middle = begin + static_cast<std::ptrdiff_t>(own);
  return {{begin, middle}, {middle + (marked ? 1 : 0), arguments.end()}, marked};
}

} // namespace mete::cli
