// fork() from any thread at any moment leaves a heap that works, in parent and child.
//
// SPDX-License-Identifier: MIT
#pragma once

namespace mete::front {

// Registers mete's handlers, once a process. May allocate.
void register_for_fork();

// Whether this is the child of a fork of a process that had other threads, or may have had.
bool threads_vanished();

// In the child of a fork whose handlers have not run, or never will (a bare clone()): makes the
// heap usable. REQUIRES: the caller is outside of the gate, or in a signal handler.
void put_child_in_order();

} // namespace mete::front
