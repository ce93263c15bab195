// The libFuzzer entry.
//
// SPDX-License-Identifier: MIT
#include "replay.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::replay(data, size);
  return 0;
}
