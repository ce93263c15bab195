// The beginning of everything: the first allocation of the process, whenever that is, and what can
// only be done once the C library is up.
//
// SPDX-License-Identifier: MIT
#pragma once

namespace mete::front {

// Idempotent; any thread, any time. Does not allocate. In a signal handler that interrupts the
// first call it returns before that is done: what has not been read yet has its default.
void initialise();

// In the child of a fork: what a thread began that does not exist here is begun anew.
void reset_initialisation_in_child();

} // namespace mete::front
