// SPDX-License-Identifier: MIT
#include "heap/thread_cache.hpp"

#include <utility>

namespace mete::heap {

constinit void* empty_bin_slot[1] = {nullptr};

namespace {

template <std::size_t... Index>
constexpr thread_state unknown_thread(std::index_sequence<Index...>) {
  return {{((void)Index, cache_bin{empty_bin_slot, empty_bin_slot})...},
          tag_of_nobody,
          thread_phase::unknown,
          0,
          nullptr};
}

} // namespace

constinit thread_local thread_state this_thread =
    unknown_thread(std::make_index_sequence<class_count>());

thread_state make_unknown_thread() {
  return unknown_thread(std::make_index_sequence<class_count>());
}

} // namespace mete::heap
