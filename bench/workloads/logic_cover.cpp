// SPDX-License-Identifier: MIT
// Complements Boolean functions given as covers (lists of cubes) by recursive Shannon expansion, as
// described by R. Brayton, G. Hachtel, C. McMullen and A. Sangiovanni-Vincentelli, "Logic
// Minimization Algorithms for VLSI Synthesis" (1984), the book behind espresso, whose many small
// lists have been a test for allocators since B. Zorn's studies. Each cube and each cover is a
// block of its own.

#include "support.hpp"

#include <initializer_list>

namespace {

// Bit i of `zero`: the cube contains points where variable i is 0; of `one`: where it is 1.
struct cube {
  cube* next;
  std::uint32_t zero;
  std::uint32_t one;
};

// A singly linked list of cubes that owns them.
struct cover {
  cube* first = nullptr;
  std::size_t count = 0;
};

constexpr unsigned variables = 22;
constexpr std::uint32_t all = (1u << variables) - 1;

void add(cover& to, std::uint32_t zero, std::uint32_t one) {
  auto* made = static_cast<cube*>(std::malloc(sizeof(cube)));
  bench::check(made != nullptr, "malloc gave no memory");
  *made = {to.first, zero, one};
  to.first = made;
  ++to.count;
}

void clear(cover& of) {
  while (cube* gone = of.first) {
    of.first = gone->next;
    std::free(gone);
  }
  of.count = 0;
}

bool contains(const cover& of, std::uint32_t point) {
  for (const cube* each = of.first; each != nullptr; each = each->next) {
    if ((((point & ~each->one) | (~point & ~each->zero)) & all) == 0) {
      return true;
    }
  }
  return false;
}

// Adds a cube unless one that is already there contains it.
void add_new(cover& to, std::uint32_t zero, std::uint32_t one) {
  for (const cube* each = to.first; each != nullptr; each = each->next) {
    if ((zero & ~each->zero) == 0 && (one & ~each->one) == 0) {
      return;
    }
  }
  add(to, zero, one);
}

cover cofactor(const cover& of, std::uint32_t variable, bool value) {
  cover result;
  for (const cube* each = of.first; each != nullptr; each = each->next) {
    if (((value ? each->one : each->zero) & variable) != 0) {
      add_new(result, each->zero | variable, each->one | variable);
    }
  }
  return result;
}

// The variable that most cubes depend on; 0 when a cube is the whole space.
std::uint32_t busiest_variable(const cover& of) {
  unsigned uses[variables] = {};
  for (const cube* each = of.first; each != nullptr; each = each->next) {
    std::uint32_t literals = ~(each->zero & each->one) & all;
    if (literals == 0) {
      return 0;
    }
    for (; literals != 0; literals &= literals - 1) {
      ++uses[__builtin_ctz(literals)];
    }
  }
  unsigned best = 0;
  for (unsigned i = 1; i < variables; ++i) {
    best = uses[i] > uses[best] ? i : best;
  }
  return 1u << best;
}

cover complement(const cover& of) {
  cover result;
  if (of.first == nullptr) {
    add(result, all, all);
    return result;
  }
  const std::uint32_t variable = busiest_variable(of);
  if (variable == 0) {
    return result;
  }
  for (const bool value : {false, true}) {
    cover half = cofactor(of, variable, value);
    cover inverse = complement(half);
    clear(half);
    for (const cube* each = inverse.first; each != nullptr; each = each->next) {
      add(result, value ? each->zero & ~variable : each->zero,
          value ? each->one : each->one & ~variable);
    }
    clear(inverse);
  }
  return result;
}

cover random_cover(bench::random_source& random, std::size_t cubes, unsigned literals) {
  cover result;
  for (std::size_t i = 0; i < cubes; ++i) {
    std::uint32_t zero = all;
    std::uint32_t one = all;
    for (unsigned literal = 0; literal < literals; ++literal) {
      const std::uint32_t variable = 1u << random.below(variables);
      (random.below(2) == 0 ? zero : one) &= ~variable;
    }
    if ((zero | one) == all) {
      add(result, zero, one);
    }
  }
  return result;
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t functions = arguments.number("--functions", 70, 20);
  const std::size_t cubes = arguments.number("--cubes", 60, 60);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::random_source random(seed);
  for (std::uint64_t i = 0; i < functions; ++i) {
    cover function = random_cover(random, cubes, 6);
    cover inverse = complement(function);
    for (int sample = 0; sample < 100; ++sample) {
      const std::uint32_t point = static_cast<std::uint32_t>(random.next()) & all;
      bench::check(contains(function, point) != contains(inverse, point),
                   "a function and its complement overlap or leave a gap");
    }
    clear(function);
    clear(inverse);
  }
  return 0;
}
