// Where a constant lies in the library.
//
// The kernel maps up to 16 pages around each page of a file that is touched. Most read-only data
// (messages, names, unwind tables) is read by hardly any process, so the few constants that every
// process reads lie beside the code instead, which is resident anyway: that keeps 20 KiB out of
// each.
//
// SPDX-License-Identifier: MIT
#pragma once

// Before the definition of a constant. REQUIRES: `name` is nobody else's.
#if defined(__ELF__)
#  define METE_BESIDE_CODE(name) [[gnu::section(".text.constants." name)]]
#else
#  define METE_BESIDE_CODE(name)
#endif
