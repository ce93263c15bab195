// SPDX-License-Identifier: MIT
#include "heap/freed_mark.hpp"

#include "os/system.hpp"

namespace mete::heap {

void initialise_freed_mark() {
  if (page::primary.freed_mark == 0)
    page::primary.freed_mark = os::random_word() | 1; // 0 is what many live blocks hold
}

} // namespace mete::heap
