// SPDX-License-Identifier: MIT
#include "heap/thread_cache.hpp"

#include <utility>

namespace mete::heap {

// As numbers, because no constant is a pointer of value 1.
extern constinit std::uintptr_t empty_bin_words[2] asm("mete_empty_bin");
constinit std::uintptr_t empty_bin_words[2] = {0, end_of_array};

namespace {

constexpr std::uint32_t checked_by(std::size_t class_index) {
  const size_class& info = size_classes[class_index];
  return info.units == 1 ? info.reciprocal : 0;
}

template <std::size_t... Index>
constexpr thread_state unknown_thread(std::index_sequence<Index...>) {
  return {{cache_bin{empty_bin, checked_by(Index), 0}...},
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
