// Memory mapped from the system, for the sources that do so. Linux.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_MAPPING_HPP
#define METE_DETAIL_MAPPING_HPP

#include <cstddef>
#include <span>

#include <sys/mman.h>
#include <unistd.h>

#include <mete/detail/arithmetic.hpp>
#include <mete/detail/range_table.hpp>

namespace mete::detail {

inline std::size_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}
inline constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;

// nullptr if it fails.
inline std::byte* map(void* where, std::size_t bytes, int protection, int flags) noexcept {
  void* const begin = mmap(where, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return begin != MAP_FAILED ? static_cast<std::byte*>(begin) : nullptr;
}

// At a multiple of `alignment`. REQUIRES: bytes and alignment are multiples of the page.
inline std::byte* map_aligned(std::size_t bytes, std::size_t alignment, std::size_t page,
                              int protection, int flags) noexcept {
  std::size_t room = 0;
  if (!add(bytes, alignment - page, room))
    return nullptr;
  std::byte* const begin = map(nullptr, room, protection, flags);
  if (begin == nullptr || room == bytes)
    return begin;
  const std::size_t before = (0 - address_of(begin)) & (alignment - 1);
  if (before != 0)
    munmap(begin, before);
  if (const std::size_t after = room - before - bytes; after != 0)
    munmap(begin + before + bytes, after);
  return begin + before;
}

// The room of a range_table, mapped; hardly ever touched beyond its first page.
class range_room {
public:
  range_room() = default;
  range_room(const range_room&) = delete;
  range_room& operator=(const range_room&) = delete;
  ~range_room() {
    if (!ranges_.empty())
      munmap(ranges_.data(), ranges_.size_bytes());
  }

  // Empty if there is no memory.
  std::span<range_table::range> make(std::size_t granules) noexcept {
    const std::size_t count = range_table::ranges_for(granules);
    std::byte* const begin =
        map(nullptr, count * sizeof(range_table::range), PROT_READ | PROT_WRITE, MAP_NORESERVE);
    if (begin != nullptr)
      ranges_ = {reinterpret_cast<range_table::range*>(begin), count};
    return ranges_;
  }

private:
  std::span<range_table::range> ranges_;
};

} // namespace mete::detail

#endif
