// page_source: whole pages from the operating system: huge ones, of one NUMA node, or neighbours in
// one reservation of address space.
//
//   mete::page_source pages({.huge = mete::huge_pages::transparent, .reserve = 1 << 30});
//   mete::arena level({.name = "level", .upstream = &pages});
//
// What the system refuses, such as huge pages, is replaced by what it gives, and usage().note says
// so. Linux.
//
// SPDX-License-Identifier: MIT
#ifndef METE_PAGE_SOURCE_HPP
#define METE_PAGE_SOURCE_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/mapping.hpp>
#include <mete/detail/range_table.hpp>
#include <mete/source.hpp>

namespace mete {

enum class huge_pages : unsigned char {
  off,         // as the system does it
  transparent, // the system is asked to use them where 2 MiB fit (madvise)
  reserved,    // from the pool that the administrator has reserved (hugetlb); else transparent ones
};

struct page_source_options {
  huge_pages huge = huge_pages::off;
  int numa = -1;           // the node that is preferred; -1: as the system does it
  std::size_t reserve = 0; // bytes of address space that all blocks lie in; 0: anywhere
};

namespace detail {

// False where the kernel has none, or the administrator has switched them off.
inline bool transparent_huge_pages_exist() noexcept {
  const int file = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return false;
  char text[128] = {};
  const ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  return length > 0 && std::strstr(text, "[never]") == nullptr;
}

// Pages that are touched from now on come from `node` while it has any. libnuma's part of this is
// one system call.
inline bool prefer_node(void* begin, std::size_t bytes, int node) noexcept {
  constexpr std::size_t max_nodes = 1024;
  constexpr std::size_t bits = 8 * sizeof(unsigned long);
  if (node < 0 || static_cast<std::size_t>(node) >= max_nodes)
    return false;
  unsigned long mask[max_nodes / bits] = {};
  mask[static_cast<std::size_t>(node) / bits] = 1UL << (static_cast<std::size_t>(node) % bits);
  constexpr int preferred = 1; // MPOL_PREFERRED of <numaif.h>, which is libnuma's
  // The kernel takes one bit less than it is told.
  return syscall(SYS_mbind, begin, bytes, preferred, mask, max_nodes + 1, 0) == 0;
}

} // namespace detail

// Memory mapped from the system, in whole pages: of 2 MiB with huge_pages::reserved. What comes
// back goes back at once. Every alignment is served.
//
// With `reserve`, address space is set aside when the source is made, at no cost in memory; blocks
// are committed in it, the lowest free addresses first, and it is the limit.
//
// One or two system calls for each acquire() and release(); with `reserve`, O(free ranges) too.
// Any thread may use it.
class page_source final : public source {
public:
  using options = page_source_options;

  explicit page_source(const options& with = {}) noexcept
      : page_bytes_(with.huge == huge_pages::reserved ? detail::huge_page_bytes
                                                      : detail::page_bytes()),
        with_(with),
        transparent_(with.huge != huge_pages::off && detail::transparent_huge_pages_exist()) {
    if (with.reserve != 0 && !reserve())
      set_note("page_source: the address space could not be reserved");
  }
  ~page_source() override {
    if (!reservation_.empty())
      munmap(reservation_.data(), reservation_.size());
  }

  // The address space that was set aside: empty without `reserve`, or where that failed.
  [[nodiscard]] std::span<const std::byte> reservation() const noexcept { return reservation_; }

private:
  // What the note says; the higher one replaces the lower one.
  enum huge_note : unsigned char { as_asked, transparent_instead, ordinary_instead };

  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    std::size_t rounded = 0;
    if (!detail::round_up(bytes, page_bytes_, rounded))
      return {};
    alignment = std::max(alignment, page_bytes_);
    if (with_.huge != huge_pages::off && rounded >= detail::huge_page_bytes)
      alignment = std::max(alignment, detail::huge_page_bytes); // or the first ones do not fit
    std::byte* const block =
        with_.reserve != 0 ? commit(rounded, alignment) : map_anywhere(rounded, alignment);
    if (block == nullptr)
      return {};
    return {block, rounded};
  }

  void do_release(std::span<std::byte> block, std::size_t) noexcept override {
    if (with_.reserve != 0)
      decommit(block);
    else if (munmap(block.data(), block.size()) != 0)
      detail::misused({"page_source", "release", block.data(), "it is no block of pages"});
  }

  std::byte* map_anywhere(std::size_t bytes, std::size_t alignment) noexcept {
    std::byte* block = nullptr;
    if (with_.huge == huge_pages::reserved)
      block = detail::map_aligned(bytes, alignment, page_bytes_, read_write, from_the_pool);
    const bool from_pool = block != nullptr;
    if (!from_pool)
      block = detail::map_aligned(bytes, alignment, detail::page_bytes(), read_write, 0);
    if (block != nullptr)
      advise(block, bytes, from_pool);
    return block;
  }

  // ---- the reservation -------------------------------------------------------------------------

  bool reserve() noexcept {
    const std::size_t alignment =
        with_.huge != huge_pages::off ? detail::huge_page_bytes : page_bytes_;
    std::size_t bytes = 0;
    if (!detail::round_up(with_.reserve, page_bytes_, bytes))
      return false;
    std::byte* const begin =
        detail::map_aligned(bytes, alignment, detail::page_bytes(), PROT_NONE, MAP_NORESERVE);
    if (begin == nullptr)
      return false;
    reservation_ = {begin, bytes};
    const auto room = room_.make(bytes / page_bytes_);
    if (room.empty())
      return false;
    free_ = detail::range_table(room);
    free_.insert(detail::address_of(begin), bytes);
    return true;
  }

  std::byte* at(std::uintptr_t address) const noexcept {
    return reservation_.data() + (address - detail::address_of(reservation_.data()));
  }

  std::byte* commit(std::size_t bytes, std::size_t alignment) noexcept {
    const std::lock_guard lock(mutex_);
    const std::uintptr_t address = free_.take(bytes, alignment);
    if (address == 0)
      return nullptr;
    std::byte* const block = at(address);
    bool from_pool = false;
    if (with_.huge == huge_pages::reserved) {
      from_pool = detail::map(block, bytes, read_write, MAP_FIXED | from_the_pool) != nullptr;
      // Where it failed, a kernel may have left a hole for anybody's next mapping. A range that
      // cannot be closed again is not used any more.
      if (!from_pool && !close(block, bytes))
        return nullptr;
    }
    if (!from_pool && mprotect(block, bytes, read_write) != 0) {
      free_.insert(address, bytes);
      return nullptr;
    }
    advise(block, bytes, from_pool);
    return block;
  }

  void decommit(std::span<std::byte> block) noexcept {
    const std::lock_guard lock(mutex_);
    const std::uintptr_t begin = detail::address_of(block.data());
    const std::size_t offset = begin - detail::address_of(reservation_.data());
    if (offset >= reservation_.size() || block.size() > reservation_.size() - offset ||
        !detail::is_aligned(begin | block.size(), page_bytes_))
      detail::misused({"page_source", "release", block.data(), "it is not of this reservation"});
    if (free_.overlaps(begin, block.size()))
      detail::misused({"page_source", "release", block.data(), "it, or a part of it, is free"});
    if (with_.huge == huge_pages::reserved) {
      if (!close(block.data(), block.size()))
        return; // as in commit()
    } else {
      madvise(block.data(), block.size(), MADV_DONTNEED);
      mprotect(block.data(), block.size(), PROT_NONE); // if it fails, less is caught: no harm
    }
    free_.insert(begin, block.size());
  }

  // Address space only, whatever was there.
  static bool close(std::byte* begin, std::size_t bytes) noexcept {
    return detail::map(begin, bytes, PROT_NONE, MAP_FIXED | MAP_NORESERVE) != nullptr;
  }

  // ---- huge pages and nodes --------------------------------------------------------------------

  void advise(std::byte* begin, std::size_t bytes, bool from_pool) noexcept {
    if (with_.huge != huge_pages::off && !from_pool) {
      const bool transparent = transparent_ && madvise(begin, bytes, MADV_HUGEPAGE) == 0;
      if (!transparent)
        note(ordinary_instead);
      else if (with_.huge == huge_pages::reserved)
        note(transparent_instead);
    }
    if (with_.numa != -1 && !detail::prefer_node(begin, bytes, with_.numa))
      note_no_node();
  }

  void note(huge_note what) noexcept {
    unsigned char before = huge_note_.load(std::memory_order_relaxed);
    while (before < what &&
           !huge_note_.compare_exchange_weak(before, what, std::memory_order_relaxed)) {
    }
    publish_note();
  }
  void note_no_node() noexcept {
    no_node_.store(true, std::memory_order_relaxed);
    publish_note();
  }
  void publish_note() noexcept {
    static constexpr const char* texts[2][3] = {
        {nullptr, "page_source: transparent huge pages instead of reserved ones",
         "page_source: no huge pages"},
        {"page_source: the NUMA node could not be chosen",
         "page_source: transparent huge pages instead of reserved ones; the NUMA node could not be "
         "chosen",
         "page_source: no huge pages; the NUMA node could not be chosen"}};
    set_note(texts[no_node_.load(std::memory_order_relaxed) ? 1 : 0]
                  [huge_note_.load(std::memory_order_relaxed)]);
  }

  static constexpr int read_write = PROT_READ | PROT_WRITE;
  static constexpr int from_the_pool = MAP_HUGETLB | (21 << MAP_HUGE_SHIFT); // 2 MiB = 2^21

  const std::size_t page_bytes_; // what blocks are rounded to
  const options with_;
  const bool transparent_; // wanted, and there are some
  std::atomic<unsigned char> huge_note_{as_asked};
  std::atomic<bool> no_node_{false};

  // Only with `reserve`. Invariant: what free_ holds is inaccessible, or has no memory at least.
  std::span<std::byte> reservation_;
  std::mutex mutex_;
  detail::range_room room_;
  detail::range_table free_;
};

} // namespace mete

#endif
