// SPDX-License-Identifier: MIT
// Factors numbers by continued fractions (M. Morrison and J. Brillhart, "A Method of Factoring and
// the Factorization of F7", Mathematics of Computation 29, 1975). Like cfrac, the program of D.
// Barrett that allocator studies have used since 1993, it lives on tiny blocks that die at once.

#include "big_number.hpp"

#include <new>

namespace {

using bench::big_number;

constexpr std::size_t primes_wanted = 160; // factor base, 2 included
constexpr std::size_t relations_wanted = primes_wanted + 12;
constexpr std::size_t words = (relations_wanted + 63) / 64;

struct bit_row {
  std::uint64_t word[words];
  bool test(std::size_t i) const { return (word[i / 64] >> (i % 64) & 1) != 0; }
  void flip(std::size_t i) { word[i / 64] ^= std::uint64_t{1} << (i % 64); }
  void add(const bit_row& other) {
    for (std::size_t i = 0; i < words; ++i) {
      word[i] ^= other.word[i];
    }
  }
};

// root^2 = (-1)^exponents[0] * product of primes[i]^exponents[i + 1]  (mod the number)
struct relation {
  big_number root;
  std::uint8_t exponents[primes_wanted + 1];
};

struct factoring {
  const big_number& number;
  std::uint32_t primes[primes_wanted];
  std::size_t relation_count = 0;
  bench::table<relation> relations{relations_wanted};

  explicit factoring(const big_number& of) : number(of) { choose_primes(); }
  ~factoring() {
    for (std::size_t i = 0; i < relation_count; ++i) {
      relations[i].~relation();
    }
  }

  // Only primes of which the number is a square can divide a term of the continued fraction.
  void choose_primes() {
    std::size_t count = 0;
    primes[count++] = 2;
    for (std::uint32_t candidate = 3; count < primes_wanted; candidate += 2) {
      bool is_prime = true;
      for (std::uint32_t d = 3; d * d <= candidate; d += 2) {
        is_prime = is_prime && candidate % d != 0;
      }
      if (is_prime && is_square_modulo(candidate)) {
        primes[count++] = candidate;
      }
    }
  }

  // Euler's criterion: number^((p - 1) / 2) is 0 or 1 modulo p.
  bool is_square_modulo(std::uint32_t prime) const {
    const big_number modulus(prime);
    big_number base = number % modulus;
    big_number power(1);
    for (std::uint32_t exponent = (prime - 1) / 2; exponent > 0; exponent /= 2) {
      if (exponent % 2 == 1) {
        power = power * base % modulus;
      }
      base = base * base % modulus;
    }
    return base.is_zero() || power.is_one();
  }

  // Adds root^2 = +-term as a relation if the term has no prime outside the base.
  void try_term(big_number term, bool negative, const big_number& root) {
    std::uint8_t exponents[primes_wanted + 1] = {};
    exponents[0] = negative;
    for (std::size_t i = 0; i < primes_wanted && !term.is_one(); ++i) {
      const big_number prime(primes[i]);
      for (auto d = big_number::divide(term, prime); d.remainder.is_zero();
           d = big_number::divide(term, prime)) {
        term = std::move(d.quotient);
        ++exponents[i + 1];
      }
    }
    if (term.is_one()) {
      relation* made = new (&relations[relation_count++]) relation{root, {}};
      std::memcpy(made->exponents, exponents, sizeof exponents);
    }
  }

  // Walks the continued fraction of the square root: its terms are small squares modulo the number.
  void collect_relations() {
    const big_number start = bench::square_root(number);
    big_number p = start;
    big_number q = number - start * start;
    big_number before(1);
    big_number root = start;
    for (bool negative = true; relation_count < relations_wanted; negative = !negative) {
      bench::check(!q.is_one(), "the period of the continued fraction is too short");
      try_term(q, negative, root);
      const big_number a = (start + p) / q;
      p = a * q - p;
      q = (number - p * p) / q;
      big_number next = (a * root + before) % number;
      before = std::move(root);
      root = std::move(next);
    }
  }

  // A set of relations whose product is a square on both sides; gives a proper divisor or 1.
  big_number divisor_from(const bit_row& members) const {
    std::uint32_t exponents[primes_wanted + 1] = {};
    big_number left(1);
    auto& all = const_cast<bench::table<relation>&>(relations);
    for (std::size_t i = 0; i < relation_count; ++i) {
      if (members.test(i)) {
        left = left * all[i].root % number;
        for (std::size_t e = 0; e <= primes_wanted; ++e) {
          exponents[e] += all[i].exponents[e];
        }
      }
    }
    big_number right(1);
    for (std::size_t e = 1; e <= primes_wanted; ++e) {
      bench::check(exponents[e] % 2 == 0, "a product of relations is no square");
      for (std::uint32_t i = 0; i < exponents[e] / 2; ++i) {
        right = right * big_number(primes[e - 1]) % number;
      }
    }
    const big_number difference = compare(left, right) < 0 ? right - left : left - right;
    big_number divisor = bench::greatest_common_divisor(number, difference);
    return compare(divisor, number) == 0 ? big_number(1) : divisor;
  }

  // Gaussian elimination modulo 2 over the parities of the exponents.
  big_number solve() {
    bench::table<bit_row> parity(relation_count);
    bench::table<bit_row> members(relation_count);
    for (std::size_t i = 0; i < relation_count; ++i) {
      members[i].flip(i);
      for (std::size_t e = 0; e <= primes_wanted; ++e) {
        if (relations[i].exponents[e] % 2 == 1) {
          parity[i].flip(e);
        }
      }
    }
    std::size_t rank = 0;
    for (std::size_t column = 0; column <= primes_wanted; ++column) {
      std::size_t pivot = rank;
      while (pivot < relation_count && !parity[pivot].test(column)) {
        ++pivot;
      }
      if (pivot == relation_count) {
        continue;
      }
      std::swap(parity[rank], parity[pivot]);
      std::swap(members[rank], members[pivot]);
      for (std::size_t i = rank + 1; i < relation_count; ++i) {
        if (parity[i].test(column)) {
          parity[i].add(parity[rank]);
          members[i].add(members[rank]);
        }
      }
      ++rank;
    }
    for (std::size_t i = rank; i < relation_count; ++i) {
      big_number divisor = divisor_from(members[i]);
      if (!divisor.is_one()) {
        return divisor;
      }
    }
    return big_number(1);
  }
};

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  // Each is the product of two primes of half its length: 26 and 30 digits.
  const char* text =
      arguments.text("--number", arguments.quick() ? "27389290144460684538003707"
                                                   : "273892901442196789774703574611");
  arguments.finish();

  const big_number number = big_number::from_decimal(text);
  factoring work(number);
  work.collect_relations();
  const big_number divisor = work.solve();
  bench::check(!divisor.is_one(), "no divisor was found");
  bench::check(compare(divisor * (number / divisor), number) == 0, "the divisor is wrong");
  return 0;
}
