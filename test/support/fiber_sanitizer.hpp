// Tells AddressSanitizer and ThreadSanitizer about switches between stacks, which they would take
// for stack corruption. Empty in builds without them.
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_SUPPORT_FIBER_SANITIZER_HPP
#define METE_TEST_SUPPORT_FIBER_SANITIZER_HPP

#include <cstddef>

#if defined(__has_feature)
#  if __has_feature(address_sanitizer)
#    define METE_FIBER_ASAN 1
#  endif
#  if __has_feature(thread_sanitizer)
#    define METE_FIBER_TSAN 1
#  endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#  define METE_FIBER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#  define METE_FIBER_TSAN 1
#endif

#ifdef METE_FIBER_ASAN
#  include <sanitizer/common_interface_defs.h>
#endif
#ifdef METE_FIBER_TSAN
#  include <sanitizer/tsan_interface.h>
#endif

namespace mete::interleave {

// One stack: a fiber's, or the one that the fibers were started from.
class fiber_sanitizer {
public:
  fiber_sanitizer() = default;
  fiber_sanitizer(const fiber_sanitizer&) = delete;
  fiber_sanitizer& operator=(const fiber_sanitizer&) = delete;

#ifdef METE_FIBER_TSAN
  ~fiber_sanitizer() {
    destroy();
  }
#endif

  // A fiber that is about to begin on this stack; replaces an earlier one.
  void create([[maybe_unused]] void* stack, [[maybe_unused]] std::size_t bytes) {
#ifdef METE_FIBER_ASAN
    bottom_ = stack;
    bytes_ = bytes;
    fake_stack_ = nullptr;
#endif
#ifdef METE_FIBER_TSAN
    destroy();
    fiber_ = __tsan_create_fiber(0);
    made_here_ = true;
#endif
  }

  // Just before the switch.
  void leave_for([[maybe_unused]] fiber_sanitizer& next) {
#ifdef METE_FIBER_TSAN
    if (fiber_ == nullptr) {
      fiber_ = __tsan_get_current_fiber();
    }
    __tsan_switch_to_fiber(next.fiber_, 0);
#endif
#ifdef METE_FIBER_ASAN
    __sanitizer_start_switch_fiber(&fake_stack_, next.bottom_, next.bytes_);
#endif
  }

  // Just after the switch to this stack. `origin`, on a fiber's first time: where it was started.
  void arrived([[maybe_unused]] fiber_sanitizer* origin) {
#ifdef METE_FIBER_ASAN
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &bytes);
    if (origin != nullptr) {
      origin->bottom_ = bottom;
      origin->bytes_ = bytes;
    }
#endif
  }

private:
#ifdef METE_FIBER_ASAN
  const void* bottom_ = nullptr;
  std::size_t bytes_ = 0;
  void* fake_stack_ = nullptr;
#endif
#ifdef METE_FIBER_TSAN
  void destroy() {
    if (made_here_) {
      __tsan_destroy_fiber(fiber_);
      made_here_ = false;
    }
  }
  void* fiber_ = nullptr;
  bool made_here_ = false;
#endif
};

} // namespace mete::interleave

#endif
