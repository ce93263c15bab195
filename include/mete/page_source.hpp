// Sources that ask the operating system.
//
//   page_source           whole pages of this process: huge ones, of one NUMA node, or neighbours
//                         in one reservation of address space
//   shared_memory_source  memory that other processes see by its name
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
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
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

// ---- shared memory ----------------------------------------------------------------------------

enum class shared_memory : unsigned char {
  create,         // fails if the name exists
  open,           // fails if it does not
  create_or_open, // created() tells which it was
};

// When the source removes the name. The memory itself lives until the last process has unmapped it.
enum class unlink_name : unsigned char {
  never,   // it stays until the machine restarts, or somebody calls shm_unlink
  at_end,  // when the source that has created it ends, in the process that has created it
  at_once, // before anybody can open it: for processes that are forked later
};

struct shared_memory_options {
  const char* name = nullptr; // "/name", as shm_open wants it; must outlive the source
  std::size_t bytes = 0;      // create: the size; open: the least that will do
  shared_memory how = shared_memory::create;
  unlink_name unlink = unlink_name::at_end;
};

// POSIX shared memory. span() is all of it.
//
// Who has created it divides it, like a buffer_source: only there does acquire() give anything, for
// what is free is known in one process alone. It is not noted in the shared memory, so nobody else
// can spoil it. The others see the same bytes at a base of their own: addresses mean nothing there,
// so pass offsets from the begin of span().
//
// All memory is committed when it is created, because a file system that is full would otherwise
// end the process when a page is first touched. If anything fails, span() is empty, error() is the
// errno, and usage().note says what it was.
//
// acquire() and release(): O(free ranges), any thread.
class shared_memory_source final : public source {
public:
  using options = shared_memory_options;

  explicit shared_memory_source(const options& with) noexcept : with_(with) {
    const int file = open_file();
    if (file < 0)
      return;
    map(file);
    ::close(file);
    if (memory_.empty() ? created_ : with_.unlink == unlink_name::at_once)
      shm_unlink(with_.name); // one that could not be made is of no use to anybody
  }
  ~shared_memory_source() override {
    if (memory_.empty())
      return;
    detail::usable(memory_.data(), memory_.size()); // of what allocators still held
    munmap(memory_.data(), memory_.size());
    if (created_ && with_.unlink == unlink_name::at_end && creator_ == getpid())
      shm_unlink(with_.name);
  }

  [[nodiscard]] std::span<std::byte> span() const noexcept { return memory_; }
  [[nodiscard]] bool created() const noexcept { return created_; }
  [[nodiscard]] int error() const noexcept { return error_; } // 0: none

private:
  static constexpr std::size_t granule = 64; // a cache line, which processes had better not share

  // -1 if it fails.
  int open_file() noexcept {
    if (with_.name == nullptr) {
      fail("shared_memory_source: it has no name", EINVAL);
      return -1;
    }
    int file = -1;
    if (with_.how != shared_memory::open) {
      file = shm_open(with_.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
      created_ = file >= 0;
    }
    if (with_.how == shared_memory::open ||
        (with_.how == shared_memory::create_or_open && file < 0 && errno == EEXIST))
      file = shm_open(with_.name, O_RDWR | O_CLOEXEC, 0);
    if (file < 0)
      fail("shared_memory_source: the name cannot be created or opened", errno);
    return file;
  }

  void map(int file) noexcept {
    std::size_t bytes = with_.bytes;
    if (created_) {
      if (bytes == 0 || bytes > PTRDIFF_MAX)
        return fail("shared_memory_source: the size is none", EINVAL);
      if (const int failed = posix_fallocate(file, 0, static_cast<off_t>(bytes)); failed != 0)
        return fail("shared_memory_source: there is not enough shared memory", failed);
    } else {
      struct stat is = {};
      if (fstat(file, &is) != 0)
        return fail("shared_memory_source: it cannot be examined", errno);
      bytes = static_cast<std::size_t>(is.st_size);
      if (bytes == 0 || bytes < with_.bytes)
        return fail("shared_memory_source: it is too small, or not ready yet", EAGAIN);
      set_note("shared_memory_source: who has created it divides it");
    }
    void* const begin = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (begin == MAP_FAILED)
      return fail("shared_memory_source: it cannot be mapped", errno);
    memory_ = {static_cast<std::byte*>(begin), bytes};
    if (created_)
      divide();
  }

  void divide() noexcept {
    const std::size_t whole = detail::align_down(memory_.size(), granule);
    const auto room = room_.make(whole / granule);
    if (room.empty() || whole == 0)
      return set_note("shared_memory_source: it cannot be divided");
    free_ = detail::range_table(room);
    free_.insert(detail::address_of(memory_.data()), whole);
  }

  void fail(const char* note, int error) noexcept {
    set_note(note);
    error_ = error;
  }

  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    std::size_t rounded = 0;
    if (!detail::round_up(bytes, granule, rounded))
      return {};
    const std::lock_guard lock(mutex_);
    const std::uintptr_t begin = free_.take(rounded, std::max(alignment, granule));
    if (begin == 0)
      return {};
    return memory_.subspan(begin - detail::address_of(memory_.data()), rounded);
  }
  void do_release(std::span<std::byte> block, std::size_t) noexcept override {
    const std::lock_guard lock(mutex_);
    const std::uintptr_t begin = detail::address_of(block.data());
    const std::size_t offset = begin - detail::address_of(memory_.data());
    if (offset >= memory_.size() || block.size() > memory_.size() - offset ||
        !detail::is_aligned(offset | block.size(), granule))
      detail::misused({with_.name, "release", block.data(), "it is not of this memory"});
    if (free_.overlaps(begin, block.size()))
      detail::misused({with_.name, "release", block.data(), "it, or a part of it, is free"});
    free_.insert(begin, block.size());
  }

  const options with_;
  std::span<std::byte> memory_;
  bool created_ = false;
  const pid_t creator_ = getpid(); // a forked child ends the source too
  int error_ = 0;
  std::mutex mutex_;
  detail::range_room room_;
  detail::range_table free_;
};

} // namespace mete

#endif
