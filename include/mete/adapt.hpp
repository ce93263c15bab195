// Allocators where the standard library wants one of its own kind.
//
//   resource<A>      owns an A and is a std::pmr::memory_resource
//   resource_ref<A>  is a memory_resource over an A that lives elsewhere
//   stl<T, A>        a standard allocator of Ts over an A that lives elsewhere: no virtual call
//
//   mete::resource<mete::arena> request({.name = "request"});
//   std::pmr::vector<std::pmr::string> words(&request);
//
// Two resources are equal only if they are the same object, which needs no RTTI: keep one
// resource_ref for each allocator, or containers copy where they could move.
//
// Thread safety: of A.
//
// SPDX-License-Identifier: MIT
#ifndef METE_ADAPT_HPP
#define METE_ADAPT_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <type_traits>
#include <utility>

#include <mete/allocator.hpp>

namespace mete {

// Built from A's constructor arguments, options mostly.
template <class A>
class resource final : public std::pmr::memory_resource {
public:
  resource() = default;
  explicit resource(const typename A::options& with) : allocator_(with) {}
  resource(const resource&) = delete;
  resource& operator=(const resource&) = delete;

  [[nodiscard]] A& get() noexcept { return allocator_; }
  [[nodiscard]] A* operator->() noexcept { return &allocator_; }

private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return allocator_.allocate(bytes, alignment);
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    allocator_.deallocate(block, bytes, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  A allocator_;
};

// The allocator must outlive it.
template <class A>
class resource_ref final : public std::pmr::memory_resource {
public:
  explicit resource_ref(A& to) noexcept : allocator_(to) {}
  resource_ref(const resource_ref&) = delete;
  resource_ref& operator=(const resource_ref&) = delete;

  [[nodiscard]] A& get() noexcept { return allocator_; }

private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return allocator_.allocate(bytes, alignment);
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    allocator_.deallocate(block, bytes, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  A& allocator_;
};

// For std::vector<T, stl<T, A>> and the like. The allocator must outlive the containers.
//
// A container that is moved or swapped takes its allocator along, so both are O(1) and never throw.
// One that is assigned to by copy keeps its own; a copy uses the allocator of the original.
template <class T, class A>
class stl {
public:
  using value_type = T;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;
  using propagate_on_container_copy_assignment = std::false_type;
  using is_always_equal = std::false_type;

  // Implicit, as containers take it: std::vector<int, stl<int, arena>> numbers(request);
  // NOLINTNEXTLINE(google-explicit-constructor)
  stl(A& in) noexcept : allocator_(&in) {}
  template <class U>
  // NOLINTNEXTLINE(google-explicit-constructor): the library converts
  stl(const stl<U, A>& other) noexcept : allocator_(&other.get()) {}

  // Throws mete::out_of_memory, for a size that is too large as well.
  [[nodiscard]] T* allocate(std::size_t count) {
    const std::size_t bytes = count <= SIZE_MAX / object_bytes ? count * object_bytes : SIZE_MAX;
    return static_cast<T*>(allocator_->allocate(bytes, alignof(T)));
  }
  void deallocate(T* objects, std::size_t count) noexcept {
    allocator_->deallocate(objects, count * object_bytes, alignof(T));
  }

#if defined(__cpp_lib_allocate_at_least)
  // With what rounding adds, where A tells it: good_size(bytes), the largest size that the same
  // block serves.
  [[nodiscard]] std::allocation_result<T*> allocate_at_least(std::size_t count) {
    if constexpr (requires(const A& a) { a.good_size(count); })
      if (count <= SIZE_MAX / object_bytes)
        if (const std::size_t room = allocator_->good_size(count * object_bytes) / object_bytes;
            room > count)
          return {allocate(room), room};
    return {allocate(count), count};
  }
#endif

  [[nodiscard]] A& get() const noexcept {
    return *allocator_;
  }

  template <class U>
  friend bool operator==(const stl& left, const stl<U, A>& right) noexcept {
    return &left.get() == &right.get();
  }

private:
  static constexpr std::size_t object_bytes = sizeof(T); // NOLINT(bugprone-sizeof-expression): T*

  A* allocator_;
};

} // namespace mete

#endif
