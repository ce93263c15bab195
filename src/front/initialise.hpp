// The beginning of everything: the first allocation of the process, whenever that is, and what can
// only be done once the C library is up.
//
// SPDX-License-Identifier: MIT
#pragma once

namespace mete::front {

// Idempotent; any thread, any time. Does not allocate.
void initialise();

} // namespace mete::front
