// Moving memory out of a region without copying (os/memory.hpp: move_out).
//
// mremap with MREMAP_DONTUNMAP (Linux 5.7) moves the pages, and leaves the address space that they
// come from as it is, empty: so a region stays one mapping.
//
// SPDX-License-Identifier: MIT
#include "os/memory.hpp"
#include "os/memory_calls.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>

#if !defined(MADV_COLD)
#  define MADV_COLD 20 // Linux 5.4
#endif
#if !defined(MREMAP_DONTUNMAP)
#  define MREMAP_DONTUNMAP 4
#endif

namespace mete::os {
namespace {

// Leaves the old pages usable and empty.
bool move_pages(char* from, std::size_t bytes, char* to) {
  return ::mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to;
}

// Whether moved pages leave others in their place that are as good, asked with two pages of its
// own. An emulator may do the move, and still refuse the old address to system calls; the clock is
// read by one there.
bool try_to_move() {
  char* const from = map_anonymous(page_bytes, usable, 0);
  char* const to = map_anonymous(page_bytes, usable, 0);
  bool works = false;
  if (from != nullptr && to != nullptr) {
    *from = 1;
    works = move_pages(from, page_bytes, to) && *to == 1 && *from == 0 &&
            ::clock_gettime(CLOCK_MONOTONIC_COARSE, reinterpret_cast<timespec*>(from)) == 0;
  }
  for (char* each : {from, to})
    if (each != nullptr)
      ::munmap(each, page_bytes);
  return works;
}

bool can_move_pages() {
  enum : int { unknown, no, yes };
  static constinit std::atomic<int> answer{unknown};
  if (answer.load(std::memory_order_relaxed) == unknown)
    answer.store(try_to_move() ? yes : no, std::memory_order_relaxed);
  return answer.load(std::memory_order_relaxed) == yes;
}

// The move would take the lock (mlock) from the pages, and from all the reservation. This advice is
// refused for locked pages; otherwise it makes one page a little more likely to be swapped.
bool is_locked(char* page) {
  return ::madvise(page, page_bytes, MADV_COLD) != 0;
}

// What the kernel counts as several mappings can be moved, but never be resized as one again. In a
// child of a fork a region is several: what it commits itself never joins what was the parent's.
// Growing where the neighbours are in use fails for want of room, unless it fails before for that.
bool is_one_mapping(char* begin, std::size_t bytes) {
  return ::mremap(begin, bytes, bytes + page_bytes, 0) == MAP_FAILED && errno == ENOMEM;
}

} // namespace

char* move_out(char* begin, std::size_t bytes, std::size_t new_bytes) {
  preserve_errno saved;
  if (injected_failure() || !can_move_pages() || is_locked(begin) || !is_one_mapping(begin, bytes))
    return nullptr;
  char* const to = map_anonymous(new_bytes, usable, 0);
  if (to == nullptr)
    return nullptr;
  if (injected_failure() || !move_pages(begin, bytes, to)) {
    ::munmap(to, new_bytes);
    return nullptr;
  }
  if (bytes == new_bytes)
    return to;
  // What was moved and what is behind it can never be one mapping, so that neither could be resized
  // as a whole: the kernel numbers pages by the place where they were touched first. So the moved
  // part grows instead, mostly into the place that is made for it here.
  ::munmap(to + bytes, new_bytes - bytes);
  void* const grown =
      injected_failure() ? MAP_FAILED : ::mremap(to, bytes, new_bytes, MREMAP_MAYMOVE);
  if (grown != MAP_FAILED)
    return static_cast<char*>(grown);
  std::memcpy(begin, to, bytes);
  ::munmap(to, bytes);
  return nullptr;
}

} // namespace mete::os
