// What a correct allocator would know: the live blocks, what is in them, and to which heap they
// belong. Each call's result is checked against it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include <block_pattern.hpp>

namespace fuzz {

// Prints the line and aborts. The driver adds how to repeat it.
[[noreturn]] void violation(const char* what, const void* block, std::size_t size);

struct live_block : mete::test::block {
  void* heap = nullptr; // null: not of an explicit heap
};

class model {
public:
  static constexpr std::size_t max_live_bytes = 16 << 20;

  std::size_t count() const { return blocks_.size(); }
  bool has_room(std::size_t bytes) const { return live_bytes_ + bytes <= max_live_bytes; }
  const live_block& at(std::size_t index) const { return blocks_[index]; }

  // A block has come from the allocator: checks alignment and overlap, fills it.
  void add(void* address, std::size_t size, std::size_t alignment, void* heap);

  // REQUIRES for all: index < count().
  void check_contents(std::size_t index) const;
  // Checks its contents and forgets it; the caller frees it.
  live_block remove(std::size_t index);
  // The allocator has moved `old`, which was removed, to `address`: checks what was kept.
  void check_moved(const live_block& old, const void* address, std::size_t new_size) const;

private:
  void check_overlap(std::uintptr_t begin, std::size_t size) const;

  std::vector<live_block> blocks_;
  std::map<std::uintptr_t, std::size_t> ranges_; // begin, size (at least 1) of each
  std::size_t live_bytes_ = 0;
  std::uint64_t serial_ = 0;
};

void check_zero(const void* address, std::size_t size);

} // namespace fuzz
