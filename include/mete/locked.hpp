// locked<A, Mutex>: an allocator that several threads share, one at a time.
//
//   mete::locked<mete::arena> strings({.name = "strings"});
//
// For allocators that are used now and then; where threads meet often, shared_pool and shared_stack
// do it without one lock.
//
// SPDX-License-Identifier: MIT
#ifndef METE_LOCKED_HPP
#define METE_LOCKED_HPP

#include <cstddef>
#include <mutex>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/call_site.hpp>

namespace mete {

// Every call locks the mutex, any BasicLockable. Thread safety: all of it, but for what with() and
// get() lend.
template <class A, class Mutex = std::mutex>
class locked : public allocator_base<locked<A, Mutex>> {
public:
  using options = typename A::options;

  explicit locked(const options& with = {}) : allocator_base<locked>(nullptr), allocator_(with) {}

  [[nodiscard]] const char* name() const noexcept { return allocator_.name(); }

  [[nodiscard]] void* try_allocate(std::size_t size, std::size_t alignment = default_alignment,
                                   const call_site& where = call_site::current()) noexcept {
    const std::lock_guard lock(mutex_);
    return detail::try_allocate_at(allocator_, size, alignment, where);
  }
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment = default_alignment,
                               const call_site& where = call_site::current()) {
    void* const block = try_allocate(size, alignment, where);
    if (block == nullptr) [[unlikely]]
      this->report_exhaustion(size, alignment);
    return block;
  }
  void deallocate(void* block, std::size_t size, std::size_t alignment = default_alignment,
                  const call_site& where = call_site::current()) noexcept {
    const std::lock_guard lock(mutex_);
    detail::deallocate_at(allocator_, block, size, alignment, where);
  }
  [[nodiscard]] bool owns(const void* block) const noexcept {
    const std::lock_guard lock(mutex_);
    return allocator_.owns(block);
  }
  [[nodiscard]] allocator_usage usage() const noexcept {
    const std::lock_guard lock(mutex_);
    return allocator_.usage();
  }
  void trim() noexcept requires requires(A& a) { a.trim(); }
  {
    const std::lock_guard lock(mutex_);
    allocator_.trim();
  }

  // use(A&) under the lock: for everything else that A can do.
  template <class Use>
  decltype(auto) with(Use&& use) {
    const std::lock_guard lock(mutex_);
    return std::forward<Use>(use)(allocator_);
  }

private:
  mutable Mutex mutex_;
  A allocator_;
};

} // namespace mete

#endif
