// What this library asks of the operating system's virtual memory: five verbs and a move.
//
//   reserve   address space without memory (PROT_NONE; counts as no commit charge)
//   commit    make reserved pages usable; they read as zero
//   purge     give the pages' memory back, keep them usable; they read as zero again
//   map       reserve and commit in one, for objects with a mapping of their own
//   release   give address space back
//   remap     change a mapping's size, moving it if need be, without copying
//
// All are thread-safe and preserve errno. A failure is an ordinary result here: the caller turns it
// into ENOMEM or tries something smaller. Builds with METE_FAULT_INJECTION can make the k-th call
// fail (option fail_os_call).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::os {

// The size of a page, a power of two from 4 to 64 KiB, read at run time. REQUIRES: initialise().
extern std::size_t page_bytes;
extern unsigned page_shift;

// Reads the page size. Idempotent.
void initialise_memory();

// Address space of `bytes`, aligned to `alignment`; nullptr if it is refused.
// REQUIRES: both multiples of the page size, `alignment` a power of two.
char* reserve(std::size_t bytes, std::size_t alignment);

[[nodiscard]] bool commit(char* begin, std::size_t bytes);

// False if the kernel keeps the pages (mlock): they are as before then.
bool purge(char* begin, std::size_t bytes);

// Readable, writable, zero; nullptr if it is refused.
char* map(std::size_t bytes, std::size_t alignment);

// False if it is still mapped (a split would have exceeded the limit of mappings).
bool release(char* begin, std::size_t bytes);

// The mapping's new place, contents kept, growth zero; nullptr if refused, the old one unchanged.
char* remap(char* begin, std::size_t old_bytes, std::size_t new_bytes);

enum class huge_page_advice { ask, refuse };
void advise_huge_pages(char* begin, std::size_t bytes, huge_page_advice advice);

// Calls made so far, for the tests that let each of them fail. 0 without METE_FAULT_INJECTION.
std::size_t counted_calls();

} // namespace mete::os
