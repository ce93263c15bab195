// Allocators made of allocators.
//
//   fallback<A, B>              A, and B when A has no more
//   split_at<N, Small, Large>   by size: up to N bytes, and beyond
//   bucketize<bucket<N, A>...>  by size: each range to an allocator of its own
//   ref<A>                      one that exists already, as a part of any of these
//
// A composition owns its parts: they are its members, built in place from their options, so it is
// an allocator like any other, with a name, and can be a part itself.
//
//   mete::split_at<256, mete::pool, mete::arena> nodes({
//       .name = "nodes", .small = {.block_bytes = 256}, .large = {.name = "long ones"}});
//
// What has to live elsewhere, because it is used by others too, goes in as a ref. A part is any
// allocator with an `options` type that it can be built from. All decisions are made at compile
// time but one comparison, or one owns(). (Composition by templates: E. Berger, B. Zorn, K.
// McKinley, Composing High-Performance Memory Allocators, 2001; A. Alexandrescu, std::allocator is
// to allocation what std::vector is to vexation, 2015.)
//
// Thread safety: of the parts.
//
// SPDX-License-Identifier: MIT
#ifndef METE_COMPOSE_HPP
#define METE_COMPOSE_HPP

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include <mete/allocator.hpp>

namespace mete {

// An allocator that lives elsewhere and must outlive this. It has that one's name.
template <class A>
class ref : public allocator_base<ref<A>> {
public:
  struct options {
    A& to;
  };

  explicit ref(const options& with) noexcept
      : allocator_base<ref>(with.to.name()), allocator_(with.to) {}

  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    return allocator_.try_allocate(size, alignment);
  }
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    allocator_.deallocate(block, size, alignment);
  }
  [[nodiscard]] bool owns(const void* block) const noexcept { return allocator_.owns(block); }
  [[nodiscard]] allocator_usage usage() const noexcept { return allocator_.usage(); }
  void trim() noexcept requires requires(A& a) { a.trim(); }
  { allocator_.trim(); }
  [[nodiscard]] A& get() const noexcept { return allocator_; }

private:
  A& allocator_;
};

namespace detail {

// Sums; the peaks need not have been at the same time.
template <class... Parts>
allocator_usage usage_of_all(const Parts&... parts) noexcept {
  allocator_usage all;
  const auto add_part = [&](const allocator_usage& one) {
    all.used_bytes += one.used_bytes;
    all.reserved_bytes += one.reserved_bytes;
    all.peak_bytes += one.peak_bytes;
    all.largest_request_bytes = std::max(all.largest_request_bytes, one.largest_request_bytes);
  };
  (add_part(parts.usage()), ...);
  return all;
}

template <std::size_t... Numbers>
constexpr bool ascends() noexcept {
  const std::size_t numbers[] = {Numbers...};
  for (std::size_t at = 1; at < sizeof...(Numbers); ++at)
    if (numbers[at - 1] >= numbers[at])
      return false;
  return true;
}

template <class A>
void trim_if_possible(A& allocator) noexcept {
  if constexpr (requires { allocator.trim(); })
    allocator.trim();
}

} // namespace detail

// A, and B when A refuses: because it is full, or because the request is none that it serves.
// Blocks go back by A's owns(), so A should be one that answers it fast; B need not.
template <class A, class B>
class fallback : public allocator_base<fallback<A, B>> {
public:
  struct options {
    const char* name = "fallback";
    typename A::options first = {};
    typename B::options second = {};
  };

  explicit fallback(const options& with = {})
      : allocator_base<fallback>(with.name), first_(with.first), second_(with.second) {}

  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    void* const block = first_.try_allocate(size, alignment);
    return block != nullptr ? block : second_.try_allocate(size, alignment);
  }
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    if (first_.owns(block))
      first_.deallocate(block, size, alignment);
    else
      second_.deallocate(block, size, alignment);
  }
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return first_.owns(block) || second_.owns(block);
  }
  [[nodiscard]] allocator_usage usage() const noexcept {
    return detail::usage_of_all(first_, second_);
  }
  void trim() noexcept {
    detail::trim_if_possible(first_);
    detail::trim_if_possible(second_);
  }

  [[nodiscard]] A& first() noexcept { return first_; }
  [[nodiscard]] B& second() noexcept { return second_; }

private:
  A first_;
  B second_;
};

// Up to N bytes from Small, more from Large. What one of them refuses is refused. The size that
// comes with deallocate() says whose the block is: O(1).
template <std::size_t N, class Small, class Large>
class split_at : public allocator_base<split_at<N, Small, Large>> {
public:
  struct options {
    const char* name = "split_at";
    typename Small::options small = {};
    typename Large::options large = {};
  };

  explicit split_at(const options& with = {})
      : allocator_base<split_at>(with.name), small_(with.small), large_(with.large) {}

  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    return size <= N ? small_.try_allocate(size, alignment) : large_.try_allocate(size, alignment);
  }
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    if (size <= N)
      small_.deallocate(block, size, alignment);
    else
      large_.deallocate(block, size, alignment);
  }
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return small_.owns(block) || large_.owns(block);
  }
  [[nodiscard]] allocator_usage usage() const noexcept {
    return detail::usage_of_all(small_, large_);
  }
  void trim() noexcept {
    detail::trim_if_possible(small_);
    detail::trim_if_possible(large_);
  }

  [[nodiscard]] Small& small() noexcept { return small_; }
  [[nodiscard]] Large& large() noexcept { return large_; }

private:
  Small small_;
  Large large_;
};

// For bucketize: A serves what is larger than the bucket before, and at most MaxBytes.
template <std::size_t MaxBytes, class A>
struct bucket {
  static constexpr std::size_t max_bytes = MaxBytes;
  using type = A;
};

// Each range of sizes from an allocator of its own; what is larger than the last bucket is refused.
// One comparison for each bucket that is passed over.
template <class... Buckets>
class bucketize : public allocator_base<bucketize<Buckets...>> {
  static constexpr std::size_t limits[] = {Buckets::max_bytes...};
  static constexpr std::size_t count = sizeof...(Buckets);
  static_assert(detail::ascends<Buckets::max_bytes...>(), "buckets go from small to large");

public:
  struct options {
    const char* name = "bucketize";
    std::tuple<typename Buckets::type::options...> parts = {}; // {{...}, {...}}, one for each
  };

  explicit bucketize(const options& with = {})
      : bucketize(with, std::make_index_sequence<count>{}) {}

  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    void* block = nullptr;
    visit(size, [&](auto& part) { block = part.try_allocate(size, alignment); });
    return block;
  }
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    if (!visit(size, [&](auto& part) { part.deallocate(block, size, alignment); })) [[unlikely]]
      this->report_misuse("deallocate", block, "no bucket has blocks of this size");
  }
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return std::apply([&](const auto&... part) { return (part.owns(block) || ...); }, parts_);
  }
  [[nodiscard]] allocator_usage usage() const noexcept {
    return std::apply([](const auto&... part) { return detail::usage_of_all(part...); }, parts_);
  }
  void trim() noexcept {
    std::apply([](auto&... part) { (detail::trim_if_possible(part), ...); }, parts_);
  }

  // The allocator of bucket I, from 0.
  template <std::size_t I>
  [[nodiscard]] auto& part() noexcept {
    return std::get<I>(parts_);
  }

private:
  template <std::size_t... I>
  bucketize(const options& with, std::index_sequence<I...>)
      : allocator_base<bucketize>(with.name), parts_(std::get<I>(with.parts)...) {}

  // Calls use() with the part for the size; false if there is none.
  template <std::size_t I = 0, class Use>
  bool visit(std::size_t size, const Use& use) noexcept {
    if constexpr (I == count) {
      return false;
    } else {
      if (size > limits[I])
        return visit<I + 1>(size, use);
      use(std::get<I>(parts_));
      return true;
    }
  }

  std::tuple<typename Buckets::type...> parts_;
};

} // namespace mete

#endif
