// What C++ tests add to check.h: values that the optimiser cannot see through, deterministic
// random numbers, fills, and functions found by name.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "check.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;

using size_list = std::initializer_list<std::size_t>;

// Returns `value`, of which the compiler knows nothing afterwards. Without this it would warn of
// (or fold away) exactly the wrong calls that a test has to make.
template <class T>
T hide(T value) {
  asm volatile("" : "+r"(value) : : "memory");
  return value;
}

// Finds a function that the C library's headers do not declare; null when there is none.
template <class Function>
Function* find_function(const char* name, void* where = RTLD_DEFAULT) {
  void* address = dlsym(where, name);
  Function* function = nullptr;
  std::memcpy(&function, &address, sizeof address);
  return function;
}

inline bool is_aligned(const void* block, std::size_t alignment) {
  return (reinterpret_cast<std::uintptr_t>(block) & (alignment - 1)) == 0;
}

inline bool all_bytes_are(const void* block, std::size_t size, unsigned char value) {
  const unsigned char* bytes = static_cast<const unsigned char*>(block);
  return size == 0 || (bytes[0] == value && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

// Sebastiano Vigna's SplitMix64: small, fast, the same on every machine.
struct random_source {
  std::uint64_t state;

  std::uint64_t next() {
    std::uint64_t mixed = state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }

  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }

  // Each doubling between 2^low_bits and 2^high_bits is equally likely, as in most programs small
  // blocks are many and large ones few.
  std::size_t size_between(unsigned low_bits, unsigned high_bits) {
    std::size_t low = std::size_t{1} << (low_bits + below(high_bits - low_bits));
    return low + below(low);
  }
};
