// The virtual-memory operations that mete uses.
//
//   reserve   address space without memory (PROT_NONE; counts as no commit charge)
//   commit    make reserved pages usable; they read as zero
//   purge     give the pages' memory back, keep them usable; they read as zero again
//   map       reserve and commit in one, for objects with a mapping of their own
//   release   give address space back
//   remap     change a mapping's size, moving it if need be, without copying
//   move_out  make a mapping of pages that lie in a reservation, without copying
//
// What is only reserved is left out of core dumps (MADV_DONTDUMP), what is committed is in them: so
// both flags change at the same places as the protection, and cost no mapping of their own.
//
// All are thread-safe and preserve errno. A failure is an ordinary result here: the caller turns it
// into ENOMEM or tries something smaller. Builds with METE_FAULT_INJECTION can make the k-th call
// fail (option fail_os_call).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/units.hpp"

#include <cstddef>

namespace mete::os {

// The size of a page, a power of two from 4 to 64 KiB, read at run time. REQUIRES: initialise().
extern std::size_t page_bytes;
extern unsigned page_shift;

// Reads the page size. Idempotent.
void initialise_memory();

// Between what the program writes to and what this library keeps lie so many bytes without access,
// a multiple of every page size.
inline constexpr std::size_t guard_bytes = unit_bytes;

// Address space of `bytes`, aligned to `alignment`, with `guard` more in front of it; nullptr if it
// is refused. REQUIRES: all multiples of the page size, `alignment` a power of two.
char* reserve(std::size_t bytes, std::size_t alignment, std::size_t guard);

// `beyond`: so much follows that is reserved, too, up to what is committed or not of this
// reservation. Needs no further mapping where what comes before is committed already, not even for
// a moment if the kernel refuses one.
[[nodiscard]] bool commit(char* begin, std::size_t bytes, std::size_t beyond);

// The same in one call, for where nothing before is committed. It may exceed RLIMIT_DATA.
[[nodiscard]] bool commit_first(char* begin, std::size_t bytes);

// The opposite of commit, for pages that are clean. False if that would be a mapping too many.
bool uncommit(char* begin, std::size_t bytes);

// No access any more, for pages that are committed. False if that would be a mapping too many.
[[nodiscard]] bool forbid(char* begin, std::size_t bytes);

// False if the kernel keeps the pages (mlock): they are as before then.
bool purge(char* begin, std::size_t bytes);

// Readable, writable, zero; nullptr if it is refused.
char* map(std::size_t bytes, std::size_t alignment);

// The same, with a guard before and behind, for what the program must not reach; aligned to a page.
char* map_guarded(std::size_t bytes);
void release_guarded(char* begin, std::size_t bytes);

// Places a guard below the memory around `address`, which somebody else mapped, so that no later
// mapping ends where that begins. Costs a few calls.
void guard_from_below(const void* address);

// False if it is still mapped (a split would have exceeded the limit of mappings).
bool release(char* begin, std::size_t bytes);

// The mapping's new place, contents kept, growth zero; nullptr if refused, the old one unchanged.
char* remap(char* begin, std::size_t old_bytes, std::size_t new_bytes);

// Moves what is in committed pages into a mapping of its own, of `new_bytes`, without copying and
// without touching what was never touched: the pages are empty afterwards, read as zero, and their
// reservation stays in one piece. nullptr, and nothing changed, if that is refused, if an older
// kernel (before 5.7) cannot do it, if the program has locked the pages, or if they were committed
// partly before a fork and partly in its child. REQUIRES: bytes <= new_bytes, both of whole pages;
// what lies behind is in use.
char* move_out(char* begin, std::size_t bytes, std::size_t new_bytes);

enum class huge_page_advice { ask, refuse };
void advise_huge_pages(char* begin, std::size_t bytes, huge_page_advice advice);

// Calls made so far, for the tests that let each of them fail. 0 without METE_FAULT_INJECTION.
std::size_t counted_calls();

} // namespace mete::os
