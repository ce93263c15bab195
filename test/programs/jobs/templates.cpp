// SPDX-License-Identifier: MIT
// Something for the compiler to chew: a parser and an evaluator made of variants, tuples unrolled
// by index sequences, a compile-time sieve, regular expressions, ordered and hashed containers.
// Run, it uses them from several threads and prints one checksum. KINDS sets how much there is.
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <ranges>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int Index>
struct field {
  std::array<std::uint32_t, Index % 5 + 1> values{};
  std::string text = std::string(Index, 'f');
};

template <std::size_t... Index>
auto make_record(std::index_sequence<Index...>) {
  return std::tuple<field<static_cast<int>(Index)>...>{};
}

template <std::size_t Count>
constexpr auto sieve() {
  std::array<bool, Count> composite{};
  for (std::size_t factor = 2; factor < Count; ++factor) {
    for (std::size_t multiple = factor * 2; multiple < Count; multiple += factor) {
      composite[multiple] = true;
    }
  }
  return composite;
}

struct number;
struct sum;
struct product;
using expression =
    std::variant<std::unique_ptr<number>, std::unique_ptr<sum>, std::unique_ptr<product>>;
struct number {
  std::uint64_t value;
};
struct sum {
  std::vector<expression> terms;
};
struct product {
  std::vector<expression> factors;
};

std::uint64_t evaluate(const expression& root) {
  return std::visit(
      [](const auto& node) -> std::uint64_t {
        using type = std::decay_t<decltype(*node)>;
        if constexpr (std::is_same_v<type, number>) {
          return node->value;
        } else if constexpr (std::is_same_v<type, sum>) {
          return std::transform_reduce(node->terms.begin(), node->terms.end(), std::uint64_t{0},
                                       std::plus<>{}, evaluate);
        } else {
          return std::transform_reduce(node->factors.begin(), node->factors.end(), std::uint64_t{1},
                                       std::multiplies<>{}, evaluate);
        }
      },
      root);
}

expression grow(std::uint64_t seed, int depth) {
  if (depth == 0)
    return std::make_unique<number>(number{seed % 97 + 1});
  std::vector<expression> parts;
  for (std::uint64_t part = 0; part < 3; ++part)
    parts.push_back(grow(seed * 3 + part, depth - 1));
  if (depth % 2 == 0)
    return std::make_unique<sum>(sum{std::move(parts)});
  return std::make_unique<product>(product{std::move(parts)});
}

template <int Index>
std::uint64_t containers(std::uint64_t seed) {
  std::map<std::string, std::vector<field<Index>>> ordered;
  std::unordered_map<std::string, std::pair<std::uint64_t, field<Index>>> hashed;
  for (std::uint64_t step = 0; step < 400; ++step) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    const std::string key = "key" + std::to_string(seed >> 56);
    ordered[key].emplace_back();
    hashed[key].first += seed >> 40;
  }
  std::uint64_t total = 0;
  for (const auto& [key, list] : ordered)
    total = total * 31 + list.size() * hashed[key].first;
  auto odd = std::views::iota(0, Index + 10) |
             std::views::filter([](int n) { return n % 2 == 1; }) |
             std::views::transform([](int n) { return static_cast<std::uint64_t>(n) * n; });
  for (std::uint64_t square : odd)
    total += square;
  return total;
}

template <int... Index>
std::uint64_t all_containers(std::uint64_t seed, std::integer_sequence<int, Index...>) {
  return (containers<Index>(seed) + ... + 0U);
}

std::uint64_t words(std::uint64_t seed) {
  std::ostringstream text;
  for (std::uint64_t word = 0; word < 300; ++word)
    text << "w" << seed * word % 1009 << " - ";
  const std::string all = text.str();
  const std::regex pattern("w([0-9]+)( - )?");
  std::uint64_t total = 0;
  for (std::sregex_iterator match(all.begin(), all.end(), pattern), end; match != end; ++match) {
    total = total * 7 + std::stoull((*match)[1]);
  }
  return total;
}

#ifndef KINDS
#  define KINDS 12
#endif

int main() {
  constexpr auto primes = sieve<3000>();
  auto record = make_record(std::make_index_sequence<40>{});
  std::uint64_t total =
      std::apply([](auto&... part) { return (part.text.size() + ... + 0U); }, record);
  total += static_cast<std::uint64_t>(std::ranges::count(primes, false));
  std::array<std::uint64_t, 4> partial{};
  std::vector<std::thread> threads;
  for (std::uint64_t index = 0; index < partial.size(); ++index) {
    threads.emplace_back([&partial, index] {
      for (std::uint64_t round = 0; round < 10; ++round) {
        partial[index] += evaluate(grow(index + round, 8)) + words(index + round) +
                          all_containers(round, std::make_integer_sequence<int, KINDS>{});
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  std::cout << std::accumulate(partial.begin(), partial.end(), total) << '\n';
}
