// Replays a sequence of allocator calls, encoded in bytes, on two threads against a model.
//
// One call after the other: the second thread works only while the first waits for it, so that an
// input always does the same. What threads do at the same time is the stress's business.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace fuzz {

// Aborts on a violation. Frees all that is left at the end.
void replay(const std::uint8_t* data, std::size_t size);

} // namespace fuzz
