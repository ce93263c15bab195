// A block under test and its pattern. Every byte depends on the address, the size and the serial
// number, so that a block written over by another, handed out twice, or moved without its contents
// is noticed.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mete::test {

struct block {
  unsigned char* address = nullptr;
  std::size_t size = 0;
  std::uint64_t serial = 0;
};

class pattern {
public:
  explicit pattern(const block& of)
      : key_(reinterpret_cast<std::uintptr_t>(of.address) * 0x9e3779b97f4a7c15U ^
             of.size * 0xbf58476d1ce4e5b9U ^ of.serial * 0x94d049bb133111ebU) {}

  void fill(unsigned char* bytes, std::size_t size) const {
    std::size_t at = 0;
    for (; at + 8 <= size; at += 8) {
      const std::uint64_t word = word_at(at);
      std::memcpy(bytes + at, &word, 8);
    }
    const std::uint64_t word = word_at(at);
    std::memcpy(bytes + at, &word, size - at);
  }

  // The offset of the first byte (rounded down to 8) that is wrong; `size` if all are right.
  std::size_t first_difference(const unsigned char* bytes, std::size_t size) const {
    std::size_t at = 0;
    for (; at + 8 <= size; at += 8) {
      const std::uint64_t word = word_at(at);
      if (std::memcmp(bytes + at, &word, 8) != 0) {
        return at;
      }
    }
    const std::uint64_t word = word_at(at);
    return std::memcmp(bytes + at, &word, size - at) == 0 ? size : at;
  }

private:
  std::uint64_t word_at(std::size_t offset) const { return key_ + offset * 0xd1342543de82ef95U; }

  std::uint64_t key_;
};

} // namespace mete::test
