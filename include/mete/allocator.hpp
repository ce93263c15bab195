// What all allocators of the toolkit have in common.
//
// Two verbs: try_allocate() returns nullptr when it cannot, allocate() throws (error.hpp). Sizes
// and alignments are explicit everywhere, at both ends. A size of 0 is served as 1; an alignment
// that is no power of two, or larger than the allocator can give, is refused like a size that is
// too large. Allocators neither copy nor move: their address is their identity. A block that was
// given belongs to the caller until it goes back by deallocate() with the size and alignment it
// was asked for with.
//
// SPDX-License-Identifier: MIT
#ifndef METE_ALLOCATOR_HPP
#define METE_ALLOCATOR_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <mete/detail/construct.hpp>
#include <mete/error.hpp>

namespace mete {

inline constexpr std::size_t default_alignment = alignof(std::max_align_t);

// A snapshot, in bytes.
struct allocator_usage {
  std::size_t used_bytes = 0;            // live blocks, with what rounding adds
  std::size_t reserved_bytes = 0;        // held from the source, or the span that was given
  std::size_t peak_bytes = 0;            // the most that was ever used
  std::size_t largest_request_bytes = 0; // 0 where all blocks have one size
};

// clang-format off
template <class A>
concept allocator = requires(A& a, const A& c, void* block, std::size_t n) {
  { a.try_allocate(n, n) } noexcept -> std::same_as<void*>;
  { a.allocate(n, n) } -> std::same_as<void*>;
  { a.deallocate(block, n, n) } noexcept -> std::same_as<void>;
  { c.owns(block) } noexcept -> std::same_as<bool>;
  { c.usage() } noexcept -> std::same_as<allocator_usage>;
  { c.name() } noexcept -> std::same_as<const char*>;
};
// clang-format on

// The base of every allocator: its name, and allocate() on top of try_allocate().
// `Self` is the allocator itself, which has try_allocate() and usage().
template <class Self>
class allocator_base {
public:
  allocator_base(const allocator_base&) = delete;
  allocator_base& operator=(const allocator_base&) = delete;

  // As it was given to the constructor; reports say it. A wrapper has its own name(): that of what
  // it wraps.
  [[nodiscard]] constexpr const char* name() const noexcept { return name_; }

  // As try_allocate(), but throws mete::out_of_memory instead of returning nullptr.
  [[nodiscard]] constexpr void* allocate(std::size_t size,
                                         std::size_t alignment = default_alignment) {
    Self& self = static_cast<Self&>(*this);
    void* const block = self.try_allocate(size, alignment);
    if (block == nullptr) [[unlikely]]
      report_exhaustion(size, alignment);
    return block;
  }

protected:
  // `name` must outlive the allocator; a literal, mostly. nullptr: Self has a name() of its own.
  constexpr explicit allocator_base(const char* name) noexcept : name_(name) {}
  ~allocator_base() = default;

  [[noreturn, gnu::cold]] void report_exhaustion(std::size_t size, std::size_t alignment) const {
    const Self& self = static_cast<const Self&>(*this);
    const allocator_usage now = self.usage();
    const std::size_t largest =
        now.largest_request_bytes == 0 ? 0 : std::max(now.largest_request_bytes, size);
    detail::exhausted({self.name(), size, alignment, now.used_bytes, now.reserved_bytes, largest});
  }
  [[noreturn, gnu::cold]] void report_misuse(const char* what, const void* address,
                                             const char* known) const noexcept {
    detail::misused({static_cast<const Self&>(*this).name(), what, address, known});
  }

private:
  const char* name_;
};

namespace detail {

// Without a word to what lives in them.
// clang-format off
template <class A>
concept ends_blocks_together =
    requires(A& a) { a.reset(); } || requires(A& a) { a.template make<int>(); };
// clang-format on

} // namespace detail

// A T in memory of any allocator, until destroy(). If the constructor throws, the block goes back.
// Throws mete::out_of_memory, and what the constructor throws.
//
//   session* one = mete::create<session>(sessions, socket);
//   mete::destroy(sessions, one);
//
// Where blocks end together, by reset() or next_frame(), nobody would run their destructors: a T
// that needs its own is refused there. (arena and frame_arena have make(), which sees to it.)
template <class T, allocator A, class... Arguments>
[[nodiscard]] T* create(A& in, Arguments&&... arguments) {
  static_assert(std::is_trivially_destructible_v<T> || !detail::ends_blocks_together<A>,
                "such an allocator would end the object without its destructor");
  struct unless_constructed {
    A& in;
    void* memory;
    ~unless_constructed() {
      if (memory != nullptr)
        in.deallocate(memory, sizeof(T), alignof(T));
    }
  } undo{in, in.allocate(sizeof(T), alignof(T))};
  T* const object = detail::construct<T>(undo.memory, std::forward<Arguments>(arguments)...);
  undo.memory = nullptr;
  return object;
}

// REQUIRES: create<T>() gave it, with this allocator and this T.
template <class T, allocator A>
void destroy(A& in, T* object) noexcept {
  std::destroy_at(object);
  in.deallocate(object, sizeof(T), alignof(T));
}

} // namespace mete

#endif
