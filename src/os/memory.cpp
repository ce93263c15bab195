// SPDX-License-Identifier: MIT
#include "os/memory.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/options.hpp"
#include "os/memory_calls.hpp"

#include <cstdint>
#include <sys/auxv.h>
#include <unistd.h>

namespace mete::os {

std::size_t page_bytes = 0;
unsigned page_shift = 0;

namespace {

#if defined(METE_FAULT_INJECTION)
constinit std::atomic<std::size_t> calls{0};

void injected_delay() {
  if (const long long delay = option(options.slow_purge_us); delay != 0)
    ::usleep(static_cast<useconds_t>(delay));
}
#else
void injected_delay() {}
#endif

// With `guard` bytes in front that belong to it. Maps more than is wanted and gives the ends back,
// unless the first try happens to fit.
char* map_aligned(std::size_t bytes, std::size_t alignment, std::size_t guard, int protection,
                  int flags) {
  char* begin = map_anonymous(guard + bytes, protection, flags);
  if (begin == nullptr)
    return nullptr;
  if (align_up(begin + guard, alignment) == begin + guard)
    return begin + guard;
  ::munmap(begin, guard + bytes);
  const std::size_t padded = guard + bytes + alignment - page_bytes;
  if (padded < bytes)
    return nullptr;
  begin = map_anonymous(padded, protection, flags);
  if (begin == nullptr)
    return nullptr;
  char* const aligned = align_up(begin + guard, alignment);
  const auto head = static_cast<std::size_t>(aligned - guard - begin);
  if (head != 0)
    ::munmap(begin, head);
  const auto tail = static_cast<std::size_t>(begin + padded - (aligned + bytes));
  if (tail != 0)
    ::munmap(aligned + bytes, tail);
  return aligned;
}

} // namespace

#if defined(METE_FAULT_INJECTION)
bool injected_failure() {
  const auto number = static_cast<long long>(calls.fetch_add(1, std::memory_order_relaxed)) + 1;
  const long long first = option(options.fail_os_call);
  return first != 0 && number >= first && number < first + option(options.fail_os_calls);
}
#endif

char* map_anonymous(std::size_t bytes, int protection, int flags) {
  void* const begin =
      ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return begin == MAP_FAILED ? nullptr : static_cast<char*>(begin);
}

void initialise_memory() {
  if (page_bytes != 0)
    return;
  const std::size_t bytes = ::getauxval(AT_PAGESZ);
  METE_CHECK(is_power_of_two(bytes) && bytes >= 4 * KiB && bytes <= unit_bytes);
  page_shift = log2_floor(bytes);
  page_bytes = bytes;
}

char* reserve(std::size_t bytes, std::size_t alignment, std::size_t guard) {
  preserve_errno saved;
  if (injected_failure())
    return nullptr;
  char* const begin = map_aligned(bytes, alignment, guard, PROT_NONE, MAP_NORESERVE);
  if (begin != nullptr)
    ::madvise(begin - guard, guard + bytes, MADV_DONTDUMP);
  return begin;
}

bool commit(char* begin, std::size_t bytes, std::size_t beyond) {
  preserve_errno saved;
  if (injected_failure())
    return false;
  if (::mprotect(begin, bytes, usable) == 0) {
    ::madvise(begin, bytes, MADV_DODUMP);
    return true;
  }
  if (errno != ENOMEM) // a sandbox may refuse that, and allow to map: nothing is there to be lost
    return ::mmap(begin, bytes, usable, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                  0) != MAP_FAILED;
  // Perhaps the process has as many mappings as it may, and these pages were one more until the
  // second call. If all that is left is dumped, they join what comes before in one.
  if (::madvise(begin, bytes + beyond, MADV_DODUMP) == 0 && ::mprotect(begin, bytes, usable) == 0)
    return true;
  ::madvise(begin, bytes + beyond, MADV_DONTDUMP);
  return false;
}

bool commit_first(char* begin, std::size_t bytes) {
  preserve_errno saved;
  if (injected_failure())
    return false;
  return ::mmap(begin, bytes, usable, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

bool uncommit(char* begin, std::size_t bytes) {
  preserve_errno saved;
  if (injected_failure() || ::mprotect(begin, bytes, PROT_NONE) != 0)
    return false;
  ::madvise(begin, bytes, MADV_DONTDUMP);
  return true;
}

bool forbid(char* begin, std::size_t bytes) {
  preserve_errno saved;
  return !injected_failure() && ::mprotect(begin, bytes, PROT_NONE) == 0;
}

bool purge(char* begin, std::size_t bytes) {
  preserve_errno saved;
  if (injected_failure())
    return false;
  injected_delay();
  return ::madvise(begin, bytes, MADV_DONTNEED) == 0;
}

char* map(std::size_t bytes, std::size_t alignment) {
  preserve_errno saved;
  if (injected_failure())
    return nullptr;
  return map_aligned(bytes, alignment, 0, usable, 0);
}

char* map_guarded(std::size_t bytes) {
  char* const begin = reserve(bytes + guard_bytes, page_bytes, guard_bytes);
  if (begin == nullptr || commit_first(begin, bytes))
    return begin;
  (void)release(begin - guard_bytes, bytes + 2 * guard_bytes);
  return nullptr;
}

void release_guarded(char* begin, std::size_t bytes) {
  (void)release(begin - guard_bytes, bytes + 2 * guard_bytes);
}

void guard_from_below(const void* address) {
  preserve_errno saved;
  // How far the mapping reaches down can be found out by trying only. An older kernel takes the
  // flag for none, and the address for a wish: then there is no guard.
  constexpr unsigned tries = 32;
  char* page = const_cast<char*>(static_cast<const char*>(address));
  page -= reinterpret_cast<std::uintptr_t>(page) % page_bytes;
  for (unsigned count = 0; count < tries; ++count) {
    page -= page_bytes;
    void* const placed =
        ::mmap(page, page_bytes, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (placed == page)
      return;
    if (placed != MAP_FAILED)
      ::munmap(placed, page_bytes);
  }
}

bool release(char* begin, std::size_t bytes) {
  preserve_errno saved;
  if (injected_failure())
    return false;
  return ::munmap(begin, bytes) == 0;
}

char* remap(char* begin, std::size_t old_bytes, std::size_t new_bytes) {
  preserve_errno saved;
  if (injected_failure())
    return nullptr;
  void* const moved = ::mremap(begin, old_bytes, new_bytes, MREMAP_MAYMOVE);
  return moved == MAP_FAILED ? nullptr : static_cast<char*>(moved);
}

void advise_huge_pages(char* begin, std::size_t bytes, huge_page_advice advice) {
  preserve_errno saved;
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
