// SPDX-License-Identifier: MIT
#include "model.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace fuzz {

namespace {

// Big blocks are filled at both ends only: a fuzzer lives on executions per second.
constexpr std::size_t end_bytes = 8192;

using mete::test::pattern;

std::size_t head_bytes(std::size_t size) {
  return std::min(size, end_bytes);
}
std::size_t tail_bytes(std::size_t size) {
  return size < 2 * end_bytes ? size - head_bytes(size) : end_bytes;
}

} // namespace

void violation(const char* what, const void* block, std::size_t size) {
  std::fprintf(stderr, "fuzz: %s: block %p of %zu bytes\n", what, block, size);
  std::abort();
}

void check_zero(const void* address, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(address);
  if (size != 0 && (bytes[0] != 0 || std::memcmp(bytes, bytes + 1, size - 1) != 0)) {
    violation("zeroed memory is not zero", address, size);
  }
}

void model::add(void* address, std::size_t size, std::size_t alignment, void* heap) {
  if (address == nullptr) {
    violation("no memory, though little is in use", address, size);
  }
  if ((reinterpret_cast<std::uintptr_t>(address) & (alignment - 1)) != 0) {
    violation("misaligned", address, size);
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  check_overlap(begin, size);
  live_block each;
  each.address = static_cast<unsigned char*>(address);
  each.size = size;
  each.serial = ++serial_;
  each.heap = heap;
  pattern(each).fill(each.address, head_bytes(size));
  pattern(each).fill(each.address + size - tail_bytes(size), tail_bytes(size));
  ranges_.emplace(begin, std::max<std::size_t>(size, 1));
  blocks_.push_back(each);
  live_bytes_ += size;
}

void model::check_overlap(std::uintptr_t begin, std::size_t size) const {
  const auto next = ranges_.lower_bound(begin);
  const bool meets_next =
      next != ranges_.end() && next->first < begin + std::max<std::size_t>(size, 1);
  const bool meets_previous =
      next != ranges_.begin() && std::prev(next)->first + std::prev(next)->second > begin;
  if (meets_next || meets_previous) {
    violation("overlaps a live block", reinterpret_cast<const void*>(begin), size);
  }
}

void model::check_contents(std::size_t index) const {
  const live_block& each = blocks_[index];
  const std::size_t head = head_bytes(each.size);
  const std::size_t tail = tail_bytes(each.size);
  if (pattern(each).first_difference(each.address, head) != head ||
      pattern(each).first_difference(each.address + each.size - tail, tail) != tail) {
    violation("contents have changed", each.address, each.size);
  }
}

live_block model::remove(std::size_t index) {
  check_contents(index);
  const live_block each = blocks_[index];
  ranges_.erase(reinterpret_cast<std::uintptr_t>(each.address));
  blocks_[index] = blocks_.back();
  blocks_.pop_back();
  live_bytes_ -= each.size;
  return each;
}

void model::check_moved(const live_block& old, const void* address, std::size_t new_size) const {
  const auto* bytes = static_cast<const unsigned char*>(address);
  const std::size_t head = std::min(head_bytes(old.size), new_size);
  if (pattern(old).first_difference(bytes, head) != head) {
    violation("realloc has lost contents", address, new_size);
  }
  const std::size_t tail = tail_bytes(old.size);
  if (new_size >= old.size &&
      pattern(old).first_difference(bytes + old.size - tail, tail) != tail) {
    violation("realloc has lost contents at the end", address, new_size);
  }
}

} // namespace fuzz
