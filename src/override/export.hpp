// Symbols that the rest of the process sees; everything else in the library is hidden.
//
// SPDX-License-Identifier: MIT
#pragma once

#define METE_EXPORT [[gnu::visibility("default")]]
