// SPDX-License-Identifier: MIT
// Hard work for a compiler: deep recursion, wide packs and many container instantiations.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int number>
struct tag {
  int value = number;
  auto operator<=>(const tag&) const = default;
};

template <unsigned n>
struct fibonacci {
  static constexpr unsigned long value = fibonacci<n - 1>::value + fibonacci<n - 2>::value;
};
template <>
struct fibonacci<0> {
  static constexpr unsigned long value = 0;
};
template <>
struct fibonacci<1> {
  static constexpr unsigned long value = 1;
};

template <int number>
int use_containers() {
  std::map<tag<number>, std::vector<std::string>> ordered;
  std::unordered_map<std::string, std::shared_ptr<tag<number>>> hashed;
  std::variant<tag<number>, std::string, std::vector<tag<number>>> any = tag<number>{};
  std::function<int(tag<number>)> call = [](tag<number> of) { return of.value; };
  ordered[tag<number>{}].push_back("text");
  hashed["key"] = std::make_shared<tag<number>>();
  std::vector<tag<number>> sorted(number + 1);
  std::sort(sorted.begin(), sorted.end());
  return static_cast<int>(ordered.size() + hashed.size() + any.index()) + call(sorted.front());
}

template <int... numbers>
int use_all(std::integer_sequence<int, numbers...>) {
  const auto wide = std::make_tuple(tag<numbers>{}...);
  return (use_containers<numbers>() + ...) + std::get<0>(wide).value;
}

unsigned long all_of_it() {
  return static_cast<unsigned long>(use_all(std::make_integer_sequence<int, INSTANTIATIONS>{})) +
         fibonacci<200>::value;
}
