// A source that keeps some of the slabs that come back to it, for whoever wants one next: so that
// slabs of different owners can be used again for each other, and all of them together keep a
// bounded number of bytes.
//
// Slabs are what is aligned to 4 KiB or more; of each alignment, one size. Everything else is
// passed on. O(1). Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_EMPTY_SLABS_HPP
#define METE_DETAIL_EMPTY_SLABS_HPP

#include <bit>
#include <cstddef>
#include <new>
#include <span>

#include <mete/detail/annotate.hpp>
#include <mete/source.hpp>

namespace mete::detail {

class empty_slabs final : public source {
public:
  empty_slabs(source* upstream, std::size_t max_bytes) noexcept
      : upstream_(upstream != nullptr ? *upstream : default_source()), max_bytes_(max_bytes) {}
  ~empty_slabs() override { clear(); }

  source& upstream() const noexcept { return upstream_; }
  std::size_t kept_bytes() const noexcept { return kept_bytes_; }

  // Gives back what is kept. O(slabs).
  void clear() noexcept {
    for (int order = 0; order < orders; ++order)
      while (kept_[order] != nullptr)
        upstream_.release(take(order), std::size_t{1} << order);
  }

private:
  static constexpr std::size_t min_slab_bytes = 4096;
  static constexpr int orders = 64;
  struct kept {
    kept* next;
    std::size_t bytes;
  };

  // Masked, for GCC believes that an alignment could be 0.
  static int order_of(std::size_t alignment) noexcept {
    return std::countr_zero(alignment) & (orders - 1);
  }

  std::span<std::byte> take(int order) noexcept {
    kept* const taken = kept_[order];
    const std::size_t bytes = taken->bytes;
    kept_[order] = taken->next;
    kept_bytes_ -= bytes;
    usable(taken, bytes);
    return {reinterpret_cast<std::byte*>(taken), bytes};
  }

  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    const int order = order_of(alignment);
    if (kept_[order] != nullptr)
      return take(order);
    return upstream_.acquire(bytes, alignment);
  }
  void do_release(std::span<std::byte> block, std::size_t alignment) noexcept override {
    if (alignment < min_slab_bytes || block.size() > max_bytes_ - kept_bytes_) {
      upstream_.release(block, alignment);
      return;
    }
    kept*& first = kept_[order_of(alignment)];
    first = new (block.data()) kept{first, block.size()};
    kept_bytes_ += block.size();
    unusable(block.data() + sizeof(kept), block.size() - sizeof(kept));
  }

  source& upstream_;
  const std::size_t max_bytes_;
  std::size_t kept_bytes_ = 0; // Invariant: at most max_bytes_
  kept* kept_[orders] = {};    // by the power of two
};

} // namespace mete::detail

#endif
