// Symbols that the rest of the process sees; everything else in the library is hidden.
//
// SPDX-License-Identifier: MIT
#pragma once

#define METE_EXPORT [[gnu::visibility("default")]]

// For functions whose shortest way is all that matters: it begins with a cache line, so that it
// takes as few of them as it can, wherever the linker puts it.
#define METE_EXPORT_HOT METE_EXPORT [[gnu::aligned(64)]]

// For functions that the standard lets a program replace.
#define METE_REPLACEABLE METE_EXPORT [[gnu::weak]]
#define METE_REPLACEABLE_HOT METE_EXPORT_HOT [[gnu::weak]]
