// SPDX-License-Identifier: MIT
#include "cli/suite.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <toml++/toml.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

constexpr double longest_timeout_seconds = 1e6;

[[noreturn]] void fail(const std::string& path, const toml::source_position& at,
                       const std::string& what) {
  throw command_error(status_usage, fmt::format("{}:{}:{}: {}", path, at.line, at.column, what));
}

// Reads the keys of one table; what nobody asked for in the end is an error.
class table_reader {
public:
  table_reader(const std::string& path, const toml::table& table) : path_(path), table_(table) {}

  void read(const char* key, std::string& value) {
    if (const toml::node* node = find(key))
      value = as<std::string>(*node, key, "a text: \"...\"");
  }

  void read(const char* key, bool& value) {
    if (const toml::node* node = find(key))
      value = as<bool>(*node, key, "true or false");
  }

  template <typename Integer>
  void read_number(const char* key, Integer& value, std::int64_t low, std::int64_t high) {
    const toml::node* node = find(key);
    if (node == nullptr)
      return;
    const auto number = as<std::int64_t>(*node, key, "a whole number");
    if (number < low || number > high)
      fail(*node, fmt::format("'{}' is {}, and has to be from {} to {}", key, number, low, high));
    value = static_cast<Integer>(number);
  }

  void read(const char* key, std::chrono::milliseconds& value) {
    const toml::node* node = find(key);
    if (node == nullptr)
      return;
    const std::optional<double> seconds = node->value<double>();
    if (!seconds || !(*seconds > 0) || *seconds > longest_timeout_seconds)
      fail(*node, fmt::format("'{}' has to be a number of seconds above 0", key));
    value = std::chrono::milliseconds(static_cast<long>(*seconds * 1000));
  }

  // Returns the node, or null where there is none.
  const toml::node* read(const char* key, std::vector<std::string>& value,
                         bool may_be_empty = false) {
    const toml::node* node = find(key);
    if (node == nullptr)
      return nullptr;
    const toml::array* array = node->as_array();
    const std::string kind = R"(an array of texts: ["...", "..."])";
    if (array == nullptr || (array->empty() && !may_be_empty))
      fail(*node, fmt::format("'{}' has to be {}", key, kind));
    value.clear();
    for (const toml::node& each : *array)
      value.push_back(as<std::string>(each, key, kind));
    return node;
  }

  void read(const char* key, std::vector<std::pair<std::string, std::string>>& value) {
    const toml::node* node = find(key);
    if (node == nullptr)
      return;
    const toml::table* table = node->as_table();
    if (table == nullptr)
      fail(*node, fmt::format("'{}' has to be a table: {{ NAME = \"value\" }}", key));
    for (const auto& [name, each] : *table)
      value.emplace_back(name.str(), as<std::string>(each, key, "a table of texts"));
  }

  const toml::array* find_tables(const char* key) {
    const toml::node* node = find(key);
    if (node == nullptr)
      return nullptr;
    if (!node->is_array_of_tables())
      fail(*node, fmt::format("'{0}' has to be a table for each: [[{0}]]", key));
    return node->as_array();
  }

  void require(const char* key) const {
    if (!table_.contains(key))
      fail(table_, fmt::format("'{}' is missing", key));
  }

  [[noreturn]] void fail(const toml::node& at, const std::string& what) const {
    cli::fail(path_, at.source().begin, what);
  }

  void refuse_other_keys() const {
    for (const auto& [key, value] : table_)
      if (!known_.contains(std::string(key.str())))
        cli::fail(
            path_, key.source().begin,
            fmt::format("there is no key '{}'; there are {}", key.str(), fmt::join(known_, ", ")));
  }

private:
  const toml::node* find(const char* key) {
    known_.insert(key);
    return table_.get(key);
  }

  template <typename T>
  T as(const toml::node& node, const char* key, const std::string& kind) const {
    const std::optional<T> value = node.value_exact<T>();
    if (!value)
      fail(node, fmt::format("'{}' has to be {}", key, kind));
    return *value;
  }

  const std::string& path_;
  const toml::table& table_;
  std::set<std::string> known_;
};

// Some workloads mean nothing in time (they mostly sleep), or in memory.
void read_means(table_reader& reader, std::vector<std::string>& means) {
  const toml::node* node = reader.read("means", means, true);
  for (const std::string& each : means)
    if (each != "time" && each != "memory")
      reader.fail(*node,
                  fmt::format("'means' has '{}', and there are \"time\" and \"memory\"", each));
}

workload read_workload(const std::string& path, const toml::table& table,
                       const workload& defaults) {
  table_reader reader(path, table);
  workload result = defaults;
  reader.require("name");
  reader.require("program");
  reader.read("name", result.name);
  reader.read("program", result.program);
  reader.read("environment", result.environment);
  reader.read("directory", result.directory);
  reader.read("scratch", result.scratch);
  reader.read("input", result.input);
  reader.read("timeout", result.timeout);
  reader.read("setup", result.setup);
  reader.read("client", result.client);
  reader.read("check", result.check);
  reader.read("ready-line", result.ready_line);
  reader.read_number("ready-port", result.ready_port, 1, 65535);
  reader.read("metric", result.metric);
  reader.read("lower-is-better", result.lower_metric_is_better);
  reader.read("allocators", result.allocators);
  read_means(reader, result.means);
  reader.refuse_other_keys();
  return result;
}

suite_candidate read_candidate(const std::string& path, const toml::table& table) {
  table_reader reader(path, table);
  suite_candidate result;
  reader.require("name");
  reader.require("arguments");
  reader.read("name", result.name);
  reader.read("arguments", result.arguments, true);
  reader.read("allocator", result.allocator);
  reader.read("package", result.package);
  reader.refuse_other_keys();
  return result;
}

void read_candidates(table_reader& reader, const std::string& path,
                     std::vector<suite_candidate>& candidates) {
  const toml::array* tables = reader.find_tables("candidate");
  if (tables == nullptr)
    return;
  std::set<std::string> names;
  for (const toml::node& each : *tables) {
    candidates.push_back(read_candidate(path, *each.as_table()));
    if (!names.insert(candidates.back().name).second)
      reader.fail(each, fmt::format("a second candidate is called '{}'", candidates.back().name));
  }
}

void check_allocators(const table_reader& reader, const toml::array& tables, const suite& all) {
  if (all.allocators.empty() && all.candidates.empty())
    return; // whatever is installed
  for (std::size_t index = 0; index < all.workloads.size(); ++index)
    for (const std::string& each : all.workloads[index].allocators)
      if (std::find(all.allocators.begin(), all.allocators.end(), each) == all.allocators.end() &&
          std::none_of(all.candidates.begin(), all.candidates.end(),
                       [&](const suite_candidate& other) { return other.name == each; }))
        reader.fail(tables[index],
                    fmt::format("'{}' names '{}', which the suite has not among its allocators",
                                all.workloads[index].name, each));
}

suite read_root(const toml::table& root, const std::string& path) {
  table_reader reader(path, root);
  suite result;
  workload defaults;
  reader.read("title", result.title);
  reader.read("allocators", result.allocators);
  reader.read_number("runs", result.runs, 1, 10000);
  reader.read_number("warmup", result.warmup, 0, 10000);
  reader.read("timeout", defaults.timeout);
  reader.read("environment", defaults.environment);
  reader.read("fail-if", result.fail_if);
  read_candidates(reader, path, result.candidates);
  const toml::array* workloads = reader.find_tables("workload");
  reader.refuse_other_keys();
  if (workloads == nullptr)
    reader.fail(root, "no [[workload]] in it: give each a name and a program");
  std::set<std::string> names;
  for (const toml::node& each : *workloads) {
    result.workloads.push_back(read_workload(path, *each.as_table(), defaults));
    if (!names.insert(result.workloads.back().name).second)
      reader.fail(each,
                  fmt::format("a second workload is called '{}'", result.workloads.back().name));
  }
  check_allocators(reader, *workloads, result);
  return result;
}

} // namespace

suite parse_suite(const std::string& text, const std::string& path) {
  try {
    suite result = read_root(toml::parse(text, path), path);
    if (result.title.empty())
      result.title = fs::path(path).stem().string();
    return result;
  } catch (const toml::parse_error& error) {
    fail(path, error.source().begin, std::string(error.description()));
  }
}

suite read_suite(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file)
    throw command_error(status_usage,
                        fmt::format("cannot read '{}': {}", path, std::strerror(errno)));
  return parse_suite(text, path);
}

} // namespace mete::cli
