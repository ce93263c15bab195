// shared_memory_source: POSIX shared memory, which other processes see by its name.
//
//   mete::shared_memory_source table({.name = "/prices", .bytes = 1 << 20});
//   if (table.error() != 0)
//     std::puts(table.usage().note);
//
// SPDX-License-Identifier: MIT
#ifndef METE_SHARED_MEMORY_SOURCE_HPP
#define METE_SHARED_MEMORY_SOURCE_HPP

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/mapping.hpp>
#include <mete/detail/range_table.hpp>
#include <mete/source.hpp>

namespace mete {

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

// span() is all of it.
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
