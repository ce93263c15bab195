// bins: blocks of all sizes for one subsystem.
//
// Basic design. Sizes are rounded up to one of eight classes per doubling, so at most an eighth of
// a block is lost; below 64 bytes to a multiple of 8. Each class is a bin of its own, with slabs as
// slab_cache has them (detail/slabs.hpp): a bit for each block, nothing written into free blocks.
// A slab has 16 KiB; 64 KiB where more than a sixteenth of 16 would be lost. Whole slabs leave
// their bin as soon as they are empty and serve the other bins; beyond `max_empty_bytes` they go
// back to the source. A bin keeps at most the slab that it takes from and that of the block it got
// back last. Blocks above 4 KiB, or aligned to more than 256 bytes, come from the source one by
// one. (Segregated fits: P. Wilson et al., Dynamic Storage Allocation: A Survey and Critical
// Review, 1995; slabs: J. Bonwick, The Slab Allocator, 1994.)
//
//   mete::bins parser({.name = "parser"});
//   void* node = parser.allocate(72);
//   ...
//   parser.deallocate(node, 72);
//
// Against std::pmr::unsynchronized_pool_resource: classes of 12.5 % instead of up to 50 %, no
// search on either path, memory goes back by itself, misuse is noticed.
//
// A block's class is known from its size and alignment, so these must be at deallocate() what they
// were at allocate(). All blocks end with the bins. The object itself has about 20 KB.
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_BINS_HPP
#define METE_BINS_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/empty_slabs.hpp>
#include <mete/detail/large_blocks.hpp>
#include <mete/detail/slabs.hpp>
#include <mete/source.hpp>

namespace mete {

struct bins_options {
  const char* name = "bins";
  source* upstream = nullptr;                // nullptr: default_source()
  std::size_t max_empty_bytes = 1024 * 1024; // of empty slabs; more go back at once
};

namespace detail {

// The classes: multiples of 8 up to 64, then eight per doubling up to 4096.
struct size_classes {
  static constexpr std::size_t count = 56;
  static constexpr std::size_t max_bytes = 4096;
  static constexpr std::size_t max_alignment = 256;

  // REQUIRES: 1 <= size <= max_bytes.
  static constexpr std::size_t of(std::size_t size) noexcept {
    const std::size_t last = size - 1;
    const auto shift = 60 - static_cast<std::size_t>(std::countl_zero(last | 64));
    return (last >> shift) + (shift - 3) * 8;
  }

  // REQUIRES: which < count.
  static constexpr std::size_t bytes(std::size_t which) noexcept {
    return which < 8 ? (which + 1) * 8 : (which % 8 + 9) << (which / 8 + 2);
  }

  // A class has the alignment of the largest power of two that divides it, up to max_alignment. A
  // size that is a multiple of an alignment is in a class that is one too: either the distance
  // between classes is, or the size is itself a class.
  static constexpr slab_geometry geometry(std::size_t which) noexcept {
    const std::size_t block_bytes = bytes(which);
    const std::size_t alignment = std::min(block_bytes & (0 - block_bytes), max_alignment);
    const slab_geometry found = slab_geometry::of(block_bytes, alignment, small_slab_bytes);
    return is_good(found) ? found : slab_geometry::of(block_bytes, alignment, large_slab_bytes);
  }

private:
  static constexpr std::size_t small_slab_bytes = 16384;
  static constexpr std::size_t large_slab_bytes = 65536;
  static constexpr bool is_good(const slab_geometry& slab) noexcept {
    const std::size_t lost = slab.slab_bytes - slab.capacity * slab.block_bytes;
    return slab.capacity >= 8 && lost * 16 <= slab.slab_bytes;
  }
};
inline constexpr std::array class_geometries = []<std::size_t... I>(std::index_sequence<I...>) {
  return std::array{size_classes::geometry(I)...};
}
(std::make_index_sequence<size_classes::count>{});
static_assert(size_classes::of(size_classes::max_bytes) == size_classes::count - 1);

} // namespace detail

class bins : public allocator_base<bins> {
  using classes = detail::size_classes;

public:
  using options = bins_options;

  // Larger blocks come from the source one by one.
  static constexpr std::size_t max_class_bytes = classes::max_bytes;

  // Acquires nothing yet.
  explicit bins(const options& with = {}) noexcept
      : bins(with, std::make_index_sequence<classes::count>{}) {}
  ~bins() { large_.release_from(large_list_); }

  // O(1), but for the source. nullptr if that has no more, or `alignment` is no power of two.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    const std::size_t rounded = round(size, alignment);
    if (rounded == 0) [[unlikely]]
      return allocate_large(size, alignment);
    bin& from = bins_[classes::of(rounded)];
    if (detail::annotating()) [[unlikely]]
      return from.allocate_and_tell(size);
    return from.take();
  }

  // O(1). REQUIRES: the size and alignment of the allocation. Misuse is reported: a block that is
  // free already, an address at which no block begins, a block of somebody else's or with another
  // size. (An address is looked up by its slab; if that would begin at an address that cannot be
  // read, the process ends there.)
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    const std::size_t rounded = round(size, alignment);
    if (rounded == 0) [[unlikely]]
      return deallocate_large(block, size);
    bins_[classes::of(rounded)].deallocate(block);
  }

  // Gives all empty slabs back. O(such slabs).
  void trim() noexcept {
    for (bin& each : bins_)
      each.trim();
    empty_slabs_.clear();
    large_.trim();
  }

  // Whether the address is that of a block. O(classes).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return large_.find(block) != nullptr ||
           std::any_of(bins_.begin(), bins_.end(),
                       [block](const bin& each) { return each.owns(block); });
  }

  // What is given for a request, with what rounding adds; 0: it is refused. O(1).
  [[nodiscard]] static constexpr std::size_t block_bytes(std::size_t size,
                                                         std::size_t alignment) noexcept {
    const std::size_t rounded = round(size, alignment);
    if (rounded != 0)
      return classes::bytes(classes::of(rounded));
    return detail::is_power_of_two(alignment) && size <= PTRDIFF_MAX
               ? std::max<std::size_t>(size, 1)
               : 0;
  }

  // The peak is the sum of what each class had at its own. O(classes).
  [[nodiscard]] allocator_usage usage() const noexcept {
    allocator_usage all = large_.usage();
    all.reserved_bytes += empty_slabs_.kept_bytes();
    for (const bin& each : bins_) {
      all.used_bytes += each.used_bytes();
      all.reserved_bytes += each.reserved_bytes();
      all.peak_bytes += each.peak_bytes();
      if (each.peak_bytes() != 0)
        all.largest_request_bytes = std::max(all.largest_request_bytes, each.block_bytes());
    }
    return all;
  }

  // What is wrong inside, or nullptr. O(slabs + large blocks).
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  class bin : detail::slabs<bin, detail::any_geometry> {
    using slabs = detail::slabs<bin, detail::any_geometry>;
    friend slabs;

  public:
    bin(const bins& in, source& upstream, std::size_t which) noexcept
        : slabs(&upstream, 0, {detail::class_geometries[which]}), in_(in) {}
    ~bin() { slabs::release_all(); }

    using slabs::check_invariants;
    using slabs::owns;
    using slabs::peak_bytes;
    using slabs::reserved_bytes;
    using slabs::take;
    using slabs::trim;
    using slabs::used_bytes;

    std::size_t block_bytes() const noexcept { return geometry().block_bytes; }

    void deallocate(void* block) noexcept {
      const place at = find(block);
      check_lives(at, block);
      if (detail::annotating()) [[unlikely]]
        detail::unusable(block, geometry().block_bytes);
      give_back(at, block);
    }

    [[gnu::noinline]] void* allocate_and_tell(std::size_t size) noexcept {
      void* const block = take();
      if (block != nullptr)
        detail::usable(block, size);
      return block;
    }

  private:
    bool slab_added(detail::slab&) noexcept { return true; }
    void slab_removed(detail::slab&) noexcept {}
    [[noreturn, gnu::cold]] void report_misuse(const char* what, const void* block,
                                               const char* known) const noexcept {
      in_.report(what, block, known);
    }

    const bins& in_;
  };

  template <std::size_t... I>
  bins(const options& with, std::index_sequence<I...>) noexcept
      : allocator_base(with.name),
        empty_slabs_(with.upstream, with.max_empty_bytes), bins_{bin(*this, empty_slabs_, I)...},
        large_(empty_slabs_.upstream()) {}

  static constexpr const char* wrong_size = "it was allocated with another size or alignment";

  // What a class must have at least; 0: it is not for the classes.
  static constexpr std::size_t round(std::size_t size, std::size_t alignment) noexcept {
    if (size > classes::max_bytes || alignment > classes::max_alignment ||
        !detail::is_power_of_two(alignment))
      return 0;
    return detail::align_up(size + (size == 0), alignment);
  }

  [[gnu::noinline]] void* allocate_large(std::size_t size, std::size_t alignment) noexcept {
    return large_.allocate(size, alignment, large_list_);
  }
  [[gnu::noinline]] void deallocate_large(void* block, std::size_t size) noexcept {
    detail::large_blocks::header* const found = large_.find(block);
    if (found == nullptr)
      report("foreign free", block, "it is not of this allocator, or is free already");
    if (found->size != size + (size == 0))
      report_misuse("invalid free", block, wrong_size);
    large_.release(*found);
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report(const char* what, const void* block,
                                                     const char* known) const noexcept {
    if (std::strcmp(what, "foreign free") == 0 && owns(block))
      report_misuse("invalid free", block, wrong_size);
    report_misuse(what, block, known);
  }

  // Invariant: a bin has no empty slabs but its current one.
  detail::empty_slabs empty_slabs_;
  std::array<bin, classes::count> bins_;
  detail::large_blocks large_;
  detail::large_blocks::list large_list_;
};

inline const char* bins::check_invariants() const noexcept {
  for (const bin& each : bins_)
    if (const char* const wrong = each.check_invariants(); wrong != nullptr)
      return wrong;
  return large_.check_invariants(large_list_);
}

} // namespace mete

#endif
