// SPDX-License-Identifier: MIT
// Natural numbers of any length, each in a malloc block of its own and never changed: every
// operation allocates its result. Slow on purpose; it serves continued_fraction.cpp, whose point is
// the stream of tiny short-lived blocks. Division is algorithm D of D. Knuth, The Art of Computer
// Programming, volume 2, section 4.3.1; the rest is schoolbook.
#pragma once

#include "support.hpp"

#include <utility>

namespace bench {

class big_number {
public:
  explicit big_number(std::uint64_t value = 0) : digits_(make(2)) {
    digits_->digit[0] = static_cast<std::uint32_t>(value);
    digits_->digit[1] = static_cast<std::uint32_t>(value >> 32);
    trim();
  }
  big_number(const big_number& other) : digits_(make(other.length())) {
    std::memcpy(digits_->digit, other.digits_->digit, length() * sizeof(std::uint32_t));
  }
  big_number(big_number&& other) noexcept : digits_(std::exchange(other.digits_, nullptr)) {}
  big_number& operator=(big_number other) noexcept {
    std::swap(digits_, other.digits_);
    return *this;
  }
  ~big_number() { std::free(digits_); }

  static big_number from_decimal(const char* text) {
    big_number value;
    for (; *text != '\0'; ++text) {
      value = value * big_number(10) + big_number(static_cast<std::uint64_t>(*text - '0'));
    }
    return value;
  }

  bool is_zero() const { return length() == 0; }
  bool is_one() const { return length() == 1 && digits_->digit[0] == 1; }
  bool is_odd() const { return length() > 0 && (digits_->digit[0] & 1) != 0; }

  // Negative, zero or positive as `a` is below, equal to or above `b`.
  friend int compare(const big_number& a, const big_number& b) {
    if (a.length() != b.length()) {
      return a.length() < b.length() ? -1 : 1;
    }
    for (std::uint32_t i = a.length(); i-- > 0;) {
      if (a.at(i) != b.at(i)) {
        return a.at(i) < b.at(i) ? -1 : 1;
      }
    }
    return 0;
  }

  friend big_number operator+(const big_number& a, const big_number& b) {
    const std::uint32_t longer = a.length() > b.length() ? a.length() : b.length();
    big_number sum(make(longer + 1));
    std::uint64_t carry = 0;
    for (std::uint32_t i = 0; i <= longer; ++i) {
      carry += std::uint64_t{a.at(i)} + b.at(i);
      sum.digits_->digit[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    sum.trim();
    return sum;
  }

  // REQUIRES: a >= b.
  friend big_number operator-(const big_number& a, const big_number& b) {
    big_number difference(make(a.length()));
    std::uint64_t borrow = 0;
    for (std::uint32_t i = 0; i < a.length(); ++i) {
      const std::uint64_t digit = std::uint64_t{a.at(i)} - b.at(i) - borrow;
      difference.digits_->digit[i] = static_cast<std::uint32_t>(digit);
      borrow = digit >> 63;
    }
    check(borrow == 0, "a natural number went below zero");
    difference.trim();
    return difference;
  }

  friend big_number operator*(const big_number& a, const big_number& b) {
    big_number product(make(a.length() + b.length()));
    std::uint32_t* out = product.digits_->digit;
    std::memset(out, 0, product.length() * sizeof(std::uint32_t));
    for (std::uint32_t i = 0; i < a.length(); ++i) {
      std::uint64_t carry = 0;
      for (std::uint32_t j = 0; j < b.length(); ++j) {
        carry += std::uint64_t{a.at(i)} * b.at(j) + out[i + j];
        out[i + j] = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
      out[i + b.length()] = static_cast<std::uint32_t>(carry);
    }
    product.trim();
    return product;
  }

  struct division;
  static division divide(const big_number& a, const big_number& b);
  friend big_number operator/(const big_number& a, const big_number& b);
  friend big_number operator%(const big_number& a, const big_number& b);

private:
  struct block {
    std::uint32_t length;
    std::uint32_t digit[]; // least significant first, the last one not zero
  };

  explicit big_number(block* digits) : digits_(digits) {}

  static block* make(std::uint32_t length) {
    auto* made = static_cast<block*>(std::malloc(sizeof(block) + length * sizeof(std::uint32_t)));
    check(made != nullptr, "malloc gave no memory");
    made->length = length;
    return made;
  }

  std::uint32_t length() const { return digits_->length; }
  std::uint32_t at(std::uint32_t i) const { return i < length() ? digits_->digit[i] : 0; }

  void trim() {
    while (digits_->length > 0 && digits_->digit[digits_->length - 1] == 0) {
      --digits_->length;
    }
  }

  static division divide_by_digit(const big_number& a, std::uint32_t digit);
  static std::uint32_t divide_step(std::uint32_t* top, const big_number& divisor);
  big_number shifted_left(unsigned bits) const;
  big_number shifted_right(unsigned bits) const;

  block* digits_;
};

struct big_number::division {
  big_number quotient;
  big_number remainder;
};

inline big_number big_number::shifted_left(unsigned bits) const {
  return *this * big_number(std::uint64_t{1} << bits);
}

inline big_number big_number::shifted_right(unsigned bits) const {
  return divide_by_digit(*this, std::uint32_t{1} << bits).quotient;
}

inline big_number::division big_number::divide_by_digit(const big_number& a, std::uint32_t digit) {
  big_number quotient(make(a.length()));
  std::uint64_t rest = 0;
  for (std::uint32_t i = a.length(); i-- > 0;) {
    rest = rest << 32 | a.at(i);
    quotient.digits_->digit[i] = static_cast<std::uint32_t>(rest / digit);
    rest %= digit;
  }
  quotient.trim();
  return {std::move(quotient), big_number(rest)};
}

// One digit of the quotient: subtracts the largest multiple of `divisor` that fits from the
// divisor.length() + 1 digits that begin at `low`. REQUIRES: the divisor's top bit is set.
inline std::uint32_t big_number::divide_step(std::uint32_t* low, const big_number& divisor) {
  const std::uint32_t n = divisor.length();
  const std::uint64_t head = std::uint64_t{low[n]} << 32 | low[n - 1];
  std::uint64_t guess = head / divisor.at(n - 1);
  std::uint64_t rest = head % divisor.at(n - 1);
  while (guess >> 32 != 0 || guess * divisor.at(n - 2) > (rest << 32 | low[n - 2])) {
    --guess;
    rest += divisor.at(n - 1);
    if (rest >> 32 != 0) {
      break;
    }
  }
  std::uint64_t carry = 0;
  std::uint64_t borrow = 0;
  for (std::uint32_t i = 0; i <= n; ++i) {
    carry += guess * divisor.at(i);
    const std::uint64_t digit = std::uint64_t{low[i]} - static_cast<std::uint32_t>(carry) - borrow;
    low[i] = static_cast<std::uint32_t>(digit);
    borrow = digit >> 63;
    carry >>= 32;
  }
  if (borrow != 0) { // the guess was one too large: add the divisor back
    --guess;
    carry = 0;
    for (std::uint32_t i = 0; i <= n; ++i) {
      carry += std::uint64_t{low[i]} + divisor.at(i);
      low[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  return static_cast<std::uint32_t>(guess);
}

inline big_number::division big_number::divide(const big_number& a, const big_number& b) {
  check(!b.is_zero(), "division by zero");
  if (compare(a, b) < 0) {
    return {big_number(), a};
  }
  if (b.length() == 1) {
    return divide_by_digit(a, b.at(0));
  }
  const auto bits = static_cast<unsigned>(__builtin_clz(b.at(b.length() - 1)));
  const big_number divisor = b.shifted_left(bits);
  const big_number dividend = a.shifted_left(bits);
  big_number rest(make(dividend.length() + 1));
  for (std::uint32_t i = 0; i < rest.length(); ++i) {
    rest.digits_->digit[i] = dividend.at(i);
  }
  big_number quotient(make(rest.length() - divisor.length()));
  for (std::uint32_t i = quotient.length(); i-- > 0;) {
    quotient.digits_->digit[i] = divide_step(rest.digits_->digit + i, divisor);
  }
  quotient.trim();
  rest.trim();
  return {std::move(quotient), rest.shifted_right(bits)};
}

inline big_number operator/(const big_number& a, const big_number& b) {
  return big_number::divide(a, b).quotient;
}

inline big_number operator%(const big_number& a, const big_number& b) {
  return big_number::divide(a, b).remainder;
}

inline big_number greatest_common_divisor(big_number a, big_number b) {
  while (!b.is_zero()) {
    big_number rest = a % b;
    a = std::move(b);
    b = std::move(rest);
  }
  return a;
}

// The largest number whose square is at most `value` (Newton's iteration from above).
inline big_number square_root(const big_number& value) {
  big_number root = value + big_number(1);
  for (big_number next = value; compare(next, root) < 0;) {
    root = next;
    next = (root + value / root) / big_number(2);
  }
  return root;
}

} // namespace bench
