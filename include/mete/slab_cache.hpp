// slab_cache: objects of one size, for programs whose number of them rises and falls.
//
// Basic design (J. Bonwick, The Slab Allocator: An Object-Caching Kernel Memory Allocator, 1994;
// J. Bonwick and J. Adams, Magazines and Vmem, 2001). Objects lie in slabs, which are aligned to
// their size, so an object finds its slab by a mask; which of them are free is said by bits in the
// slab's header (detail/slabs.hpp). Whole slabs go back to the source when all of their objects
// have been freed. Against pool (pool.hpp): memory comes back without being asked for, a double
// free is always noticed, and nothing is written into a free object, at a few instructions more.
//
//   mete::slab_cache sessions({.name = "sessions", .block_bytes = sizeof(session)});
//   auto* one = mete::create<session>(sessions, socket); // allocator.hpp
//   ...
//   mete::destroy(sessions, one);
//
// Objects can keep a state that is expensive to build, as in Bonwick's cache: `construct` is called
// for each block of a slab when the slab is made, `destroy` before it goes back, and whoever frees
// a block must leave it as `construct` did.
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_SLAB_CACHE_HPP
#define METE_SLAB_CACHE_HPP

#include <cstddef>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/slabs.hpp>
#include <mete/source.hpp>

namespace mete {

struct slab_cache_options {
  const char* name = "slab_cache";
  source* upstream = nullptr;   // nullptr: default_source()
  std::size_t block_bytes = 64; // at most 32 MiB; no request may be larger
  std::size_t alignment = default_alignment;
  std::size_t slab_bytes = 0; // rounded to a power of two; 0: 16 KiB; or 16 blocks, 7 above 4 KiB
  std::size_t max_empty_bytes = 4 * 1024 * 1024; // of empty slabs; more go back at once
  void (*construct)(void* block) noexcept = nullptr;
  void (*destroy)(void* block) noexcept = nullptr;
};

class slab_cache : public allocator_base<slab_cache>,
                   private detail::slabs<slab_cache, detail::any_geometry> {
  using slabs = detail::slabs<slab_cache, detail::any_geometry>;
  friend slabs;

public:
  using options = slab_cache_options;

  // Acquires nothing yet. Options that cannot be make a cache that has nothing to give.
  explicit slab_cache(const options& with = {}) noexcept
      : allocator_base(with.name),
        slabs(with.upstream, with.max_empty_bytes,
              {detail::slab_geometry::of(with.block_bytes, with.alignment, with.slab_bytes)}),
        alignment_(with.alignment), construct_(with.construct), destroy_(with.destroy) {}
  ~slab_cache() { release_all(); }

  // O(1), but for the source when no slab has a free block. nullptr if that has no more, or size or
  // alignment are more than the cache's.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    if (size > geometry().block_bytes || alignment > alignment_ ||
        !detail::is_power_of_two(alignment)) [[unlikely]]
      return nullptr;
    if (detail::annotating()) [[unlikely]]
      return allocate_and_tell(size);
    return take();
  }

  // O(1). Misuse is reported: a block that is free already, an address at which no block begins, or
  // that is not of this cache. (An address is looked up by its slab; if that would begin at an
  // address that cannot be read, the process ends there.)
  void deallocate(void* block, std::size_t = 0, std::size_t = 0) noexcept {
    const place at = find(block);
    check_lives(at, block);
    if (detail::annotating()) [[unlikely]]
      return tell_and_give_back(at, block);
    give_back(at, block);
  }

  // Gives the empty slabs back. O(such slabs).
  using slabs::trim;

  // Whether the address is that of a block. O(1).
  using slabs::owns;

  // What is wrong inside, or nullptr. O(slabs).
  using slabs::check_invariants;

  // How many blocks live. O(1).
  using slabs::live_blocks;

  // With what rounding adds.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return geometry().block_bytes; }
  [[nodiscard]] std::size_t slab_bytes() const noexcept { return geometry().slab_bytes; }

  // O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {used_bytes(), reserved_bytes(), peak_bytes(), 0};
  }

private:
  [[gnu::noinline]] void* allocate_and_tell(std::size_t size) noexcept {
    void* const block = take();
    if (block == nullptr)
      return nullptr;
    if (construct_ != nullptr)
      detail::own(block, geometry().block_bytes);
    else
      detail::usable(block, size);
    return block;
  }
  [[gnu::noinline]] void tell_and_give_back(place at, void* block) noexcept {
    detail::unusable(block, geometry().block_bytes);
    give_back(at, block);
  }

  bool slab_added(detail::slab& added) noexcept {
    if (construct_ != nullptr)
      for (std::size_t number = 0; number < geometry().capacity; ++number)
        construct_(block_at(added, number));
    return true;
  }
  void slab_removed(detail::slab& gone) noexcept {
    if (destroy_ == nullptr)
      return;
    for (std::size_t number = 0; number < geometry().capacity; ++number) {
      detail::own(block_at(gone, number), geometry().block_bytes);
      destroy_(block_at(gone, number));
    }
  }

  const std::size_t alignment_;
  void (*const construct_)(void*) noexcept;
  void (*const destroy_)(void*) noexcept;
};

} // namespace mete

#endif
