// Plain malloc for the containers of std::pmr, as std::allocator asks for it. libstdc++ 12's
// std::pmr::new_delete_resource() calls the operator new with an alignment instead, which ends in
// memalign() and is slower: it would flatter what the examples compare with it.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_PLAIN_MEMORY_HPP
#define METE_EXAMPLES_PLAIN_MEMORY_HPP

#include <cstddef>
#include <memory_resource>
#include <new>

class plain_memory final : public std::pmr::memory_resource {
public:
  static std::pmr::memory_resource* get() {
    static plain_memory only;
    return &only;
  }

private:
  // For types whose alignment is no more than malloc's own: all that the examples have.
  void* do_allocate(std::size_t bytes, std::size_t) override { return operator new(bytes); }
  void do_deallocate(void* block, std::size_t, std::size_t) override { operator delete(block); }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }
};

#endif
