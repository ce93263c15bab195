// SPDX-License-Identifier: MIT
#include "os/memory.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/options.hpp"
#include "base/units.hpp"

#include <cerrno>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mete::os {

std::size_t page_bytes = 0;
unsigned page_shift = 0;

namespace {

class preserve_errno {
public:
  preserve_errno() : saved_(errno) {}
  ~preserve_errno() { errno = saved_; }
  preserve_errno(const preserve_errno&) = delete;
  preserve_errno& operator=(const preserve_errno&) = delete;

private:
  int saved_;
};

#if defined(METE_FAULT_INJECTION)
constinit std::atomic<std::size_t> calls{0};

bool injected_failure() {
  const auto number = static_cast<long long>(calls.fetch_add(1, std::memory_order_relaxed)) + 1;
  const long long first = option(options.fail_os_call);
  return first != 0 && number >= first && number < first + option(options.fail_os_calls);
}
void injected_delay() {
  if (const long long delay = option(options.slow_purge_us); delay != 0)
    ::usleep(static_cast<useconds_t>(delay));
}
#else
constexpr bool injected_failure() {
  return false;
}
void injected_delay() {}
#endif

char* map_anonymous(std::size_t bytes, int protection, int flags) {
  void* const begin =
      ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return begin == MAP_FAILED ? nullptr : static_cast<char*>(begin);
}

// Maps more than is wanted and gives the ends back, unless the first try happens to fit.
char* map_aligned(std::size_t bytes, std::size_t alignment, int protection, int flags) {
  char* begin = map_anonymous(bytes, protection, flags);
  if (begin == nullptr)
    return nullptr;
  if (align_up(begin, alignment) == begin)
    return begin;
  ::munmap(begin, bytes);
  const std::size_t padded = bytes + alignment - page_bytes;
  if (padded < bytes)
    return nullptr;
  begin = map_anonymous(padded, protection, flags);
  if (begin == nullptr)
    return nullptr;
  char* const aligned = align_up(begin, alignment);
  if (aligned != begin)
    ::munmap(begin, static_cast<std::size_t>(aligned - begin));
  const std::size_t tail = static_cast<std::size_t>(begin + padded - (aligned + bytes));
  if (tail != 0)
    ::munmap(aligned + bytes, tail);
  return aligned;
}

} // namespace

void initialise_memory() {
  if (page_bytes != 0)
    return;
  const std::size_t bytes = ::getauxval(AT_PAGESZ);
  METE_CHECK(is_power_of_two(bytes) && bytes >= 4 * KiB && bytes <= unit_bytes);
  page_shift = log2_floor(bytes);
  page_bytes = bytes;
}

char* reserve(std::size_t bytes, std::size_t alignment) {
  preserve_errno guard;
  if (injected_failure())
    return nullptr;
  return map_aligned(bytes, alignment, PROT_NONE, MAP_NORESERVE);
}

bool commit(char* begin, std::size_t bytes) {
  preserve_errno guard;
  if (injected_failure())
    return false;
  return ::mprotect(begin, bytes, PROT_READ | PROT_WRITE) == 0;
}

bool purge(char* begin, std::size_t bytes) {
  preserve_errno guard;
  if (injected_failure())
    return false;
  injected_delay();
  return ::madvise(begin, bytes, MADV_DONTNEED) == 0;
}

char* map(std::size_t bytes, std::size_t alignment) {
  preserve_errno guard;
  if (injected_failure())
    return nullptr;
  return map_aligned(bytes, alignment, PROT_READ | PROT_WRITE, 0);
}

bool release(char* begin, std::size_t bytes) {
  preserve_errno guard;
  if (injected_failure())
    return false;
  return ::munmap(begin, bytes) == 0;
}

char* remap(char* begin, std::size_t old_bytes, std::size_t new_bytes) {
  preserve_errno guard;
  if (injected_failure())
    return nullptr;
  void* const moved = ::mremap(begin, old_bytes, new_bytes, MREMAP_MAYMOVE);
  return moved == MAP_FAILED ? nullptr : static_cast<char*>(moved);
}

void advise_huge_pages(char* begin, std::size_t bytes, huge_page_advice advice) {
  preserve_errno guard;
  ::madvise(begin, bytes, advice == huge_page_advice::ask ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

std::size_t counted_calls() {
#if defined(METE_FAULT_INJECTION)
  return calls.load(std::memory_order_relaxed);
#else
  return 0;
#endif
}

} // namespace mete::os
