// fork() from any thread at any moment leaves a heap that works, in parent and child.
//
// SPDX-License-Identifier: MIT
#pragma once

namespace mete::front {

// May allocate.
void register_for_fork();

} // namespace mete::front
