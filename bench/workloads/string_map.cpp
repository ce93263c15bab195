// SPDX-License-Identifier: MIT
// A hash map from strings to strings that is filled, queried, halved and filled again: the data
// structure that most services are made of. Three blocks per entry, one table that is reallocated
// as it grows. Our own scenario.

#include "support.hpp"

#include <string>
#include <unordered_map>

namespace {

using string_map = std::unordered_map<std::string, std::string>;

std::string key_of(std::uint64_t number) {
  std::string key = "session:" + std::to_string(number);
  key.append(number % 23, 'k');
  return key;
}

std::string value_of(std::uint64_t number) {
  return std::string(number * 7 % 211, static_cast<char>('a' + number % 26));
}

void insert(string_map& map, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t number = first; number < last; ++number) {
    map.emplace(key_of(number), value_of(number));
  }
}

void look_up(const string_map& map, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t number = first; number < last; ++number) {
    const auto found = map.find(key_of(number));
    bench::check(found != map.end() && found->second == value_of(number), "an entry is wrong");
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t entries = arguments.number("--entries", 300'000, 100'000);
  const std::uint64_t rounds = arguments.number("--rounds", 4, 2);
  arguments.finish();

  string_map map;
  std::uint64_t oldest = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    insert(map, oldest + map.size(), oldest + entries);
    look_up(map, oldest, oldest + entries);
    for (std::uint64_t i = 0; i < entries / 2; ++i) {
      bench::check(map.erase(key_of(oldest++)) == 1, "an entry is missing");
    }
  }
  bench::check(map.size() == entries / 2, "the map has the wrong number of entries");
  return 0;
}
