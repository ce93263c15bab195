// The parts of mete.h that are not about explicit heaps.
//
// SPDX-License-Identifier: MIT
#include "base/options.hpp"
#include "front/allocate.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "mete/mete.h"

#include <cerrno>

using namespace mete;

extern "C" {

const char* mete_version() noexcept {
  return METE_VERSION;
}

std::size_t mete_malloc_usable_size(const void* block) noexcept {
  return front::usable_size(block);
}

std::size_t mete_collect() noexcept {
  front::initialise();
  return front::collect();
}

int mete_option_get(const char* name, long long* value) noexcept {
  return get_option(name, *value) == option_error::none ? 0 : ENOENT;
}

int mete_option_set(const char* name, long long value) noexcept {
  switch (set_option(name, value)) {
  case option_error::none:
    return 0;
  case option_error::unknown:
    return ENOENT;
  case option_error::out_of_range:
    return EINVAL;
  case option_error::at_start_only:
    break;
  }
  return EPERM;
}

} // extern "C"
