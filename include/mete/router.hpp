// router: one front over many allocators: a request goes to one of them by how long its block will
// live, and by its size.
//
// Basic design. What is known of a block's end says how it is best allocated, and a hint says it:
//
//   scratch     until the scope ends       shared_stack
//   frame       this frame and the next    frame_arena<2>
//   task        until reset_task()         arena
//   object      until it is freed          by size: bins, then buddy, then the source
//   permanent   to the end                 arena
//   log         first in, first out        ring: a record, reserved until it is freed
//
// All parts but the last (objects that are too large for any) divide one range of addresses, in
// which a table says whose a block is; what is not in the range is looked up in a hash table. So
// deallocate() needs no hint, and finds the owner in O(1). (Separation by lifetime: D. Hanson, Fast
// Allocation and Deallocation of Memory Based on Object Lifetimes, 1990; D. Barrett and B. Zorn,
// Using Lifetime Predictors to Improve Memory Allocation Performance, 1993. By size: E. Berger, B.
// Zorn, K. McKinley, Composing High-Performance Memory Allocators, 2001.)
//
// A part that has no room passes the request on, and that is counted: log records go the way of
// objects, small objects to the buddy, everything else to the source, where the block lives as long
// as its hint says: it ends with its scope, frame or task. So a part that is too small costs time,
// not correctness; usage(route) says which one it is.
//
// Every block may be given back by deallocate(); of the hints scratch, frame, task and permanent
// none must be. A log record's memory comes back when all before it have been given back.
//
//   mete::router memory({.name = "level"});
//   void* node = memory.allocate(72);
//   void* path = memory.allocate(4096, 16, mete::lifetime::frame);
//   memory.deallocate(node, 72);
//   memory.next_frame();
//
// Thread safety: one thread at a time. What scratch() returns may be used by any thread, as
// stack.hpp says.
//
// SPDX-License-Identifier: MIT
#ifndef METE_ROUTER_HPP
#define METE_ROUTER_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/arena.hpp>
#include <mete/bins.hpp>
#include <mete/buddy.hpp>
#include <mete/detail/divided_range.hpp>
#include <mete/detail/large_blocks.hpp>
#include <mete/detail/ring_blocks.hpp>
#include <mete/frame.hpp>
#include <mete/source.hpp>
#include <mete/stack.hpp>

namespace mete {

// How long a block will live.
enum class lifetime : std::uint8_t { scratch, frame, task, object, permanent, log };

// The parts of a router. Those up to `log` are lifetimes; objects are small, medium or large.
enum class route : std::uint8_t { medium, small, scratch, frame, task, permanent, log, large };

struct router_options {
  const char* name = "router";
  source* upstream = nullptr; // nullptr: default_source()

  // Of each part, acquired together at once; 0: it is not wanted, and its requests are passed on.
  std::size_t scratch_bytes = 1024 * 1024;
  std::size_t frame_bytes = 4 * 1024 * 1024; // both frames together
  std::size_t task_bytes = 1024 * 1024;
  std::size_t permanent_bytes = 1024 * 1024;
  std::size_t log_bytes = 256 * 1024; // rounded up to a power of two; and an eighth beside it
  std::size_t small_bytes = 16 * 1024 * 1024;  // objects up to 4 KiB
  std::size_t medium_bytes = 16 * 1024 * 1024; // larger ones
  std::size_t max_medium_bytes = 1024 * 1024;  // those above come from the source one by one
};

// What one part of a router has done so far. Bytes as they were asked for.
struct route_usage {
  std::size_t allocations = 0; // that it served
  std::size_t bytes = 0;
  std::size_t fall_overs = 0; // requests that it had no room for, and passed on
  allocator_usage memory;     // of the part
};

class router : public allocator_base<router> {
public:
  using options = router_options;

  // Ends what was allocated as scratch since.
  class [[nodiscard]] scope_type {
  public:
    explicit scope_type(router& in) noexcept
        : router_(&in), mark_(in.scratch_.mark()), number_(in.large_.next_number()) {}
    scope_type(scope_type&& other) noexcept
        : router_(std::exchange(other.router_, nullptr)), mark_(other.mark_),
          number_(other.number_) {}
    scope_type& operator=(scope_type&&) = delete;
    ~scope_type() {
      if (router_ == nullptr)
        return;
      router_->scratch_.rewind(mark_);
      router_->large_.release_from(router_->blocks_of(route::scratch), number_);
    }

  private:
    router* router_;
    shared_stack::mark_type mark_;
    std::uint64_t number_;
  };

  // Acquires the range at once; a page of it that nothing was allocated in costs nothing with most
  // sources, but for the log's table. If the source has not so much, all parts are empty.
  explicit router(const options& with = {}) noexcept;
  ~router() { // all that lives ends
    for (detail::large_blocks::list& each : blocks_)
      large_.release_from(each);
  }

  // O(1), but for the source and what the parts say. nullptr if neither the part nor those that it
  // passes on to have so much, or `alignment` is no power of two.
  [[nodiscard]] void* try_allocate(std::size_t size, std::size_t alignment = default_alignment,
                                   lifetime hint = lifetime::object) noexcept {
    switch (route_of(size, alignment, hint)) {
    case route::small:
      return served(route::small, small_.try_allocate(size, alignment), size, alignment);
    case route::medium:
      return served(route::medium, medium_.try_allocate(size, alignment), size, alignment);
    case route::scratch:
      return served(route::scratch, scratch_.try_allocate(size, alignment), size, alignment);
    case route::frame:
      return served(route::frame, frames_.try_allocate(size, alignment), size, alignment);
    case route::task:
      return served(route::task, task_.try_allocate(size, alignment), size, alignment);
    case route::permanent:
      return served(route::permanent, permanent_.try_allocate(size, alignment), size, alignment);
    case route::log:
      return served(route::log, log_.try_allocate(size, alignment), size, alignment);
    case route::large:
      break;
    }
    return allocate_large(size, alignment, blocks_of(route::large));
  }

  // The same, but throws mete::out_of_memory, which names the part that the request was meant for
  // and says how full that was.
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment = default_alignment,
                               lifetime hint = lifetime::object) {
    void* const block = try_allocate(size, alignment, hint);
    if (block == nullptr) [[unlikely]]
      report_refusal(size, alignment, hint);
    return block;
  }

  // O(1), and what the parts say. The hint is not needed; size and alignment are those of the
  // allocation. Misuse is reported as the part does it, by the name of the part: objects and log
  // records that are free already or have another size, and what is nobody's. Arenas notice none.
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    switch (static_cast<route>(range_.find(block))) {
    case route::small:
      return small_.deallocate(block, size, alignment);
    case route::medium:
      return medium_.deallocate(block, size, alignment);
    case route::scratch:
      return scratch_.deallocate(block, size, alignment);
    case route::frame:
      return frames_.deallocate(block, size, alignment);
    case route::task:
      return task_.deallocate(block, size, alignment);
    case route::permanent:
      return permanent_.deallocate(block, size, alignment);
    case route::log:
      return log_.deallocate(block, size);
    case route::large:
      break;
    }
    deallocate_large(block, size);
  }

  // What is allocated as scratch meanwhile ends with the returned object. Scopes nest.
  scope_type scratch_scope() noexcept { return scope_type(*this); }

  // Begins the next frame, and ends what was allocated in the one before this. O(1), and the
  // destructors that frames() knows, and what fell over.
  void next_frame() noexcept {
    frames_.next_frame();
    large_.release_from(blocks_of(route::frame));
  }

  // Ends what was allocated for the task. O(1), as next_frame().
  void reset_task() noexcept {
    task_.reset();
    large_.release_from(blocks_of(route::task));
  }

  // The parts, for what else they can do, such as make<T>(). What is allocated from them does not
  // fall over and is not counted here; it may go back by either way. Their ends are the router's
  // business.
  [[nodiscard]] shared_stack& scratch() noexcept { return scratch_; }
  [[nodiscard]] frame_arena<2>& frames() noexcept { return frames_; }
  [[nodiscard]] arena& task() noexcept { return task_; }
  [[nodiscard]] arena& permanent() noexcept { return permanent_; }

  // Gives back what nothing lives in, to the parts; the range stays. O(such memory).
  void trim() noexcept {
    small_.trim();
    medium_.trim();
    large_.trim();
  }

  // Whether the address lies in the range, or is that of a block outside of it. O(1).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return range_.find(block) != range_.none || large_.find(block) != nullptr;
  }

  // Of all parts; the peak is the sum of what each had at its own. O(classes of bins).
  [[nodiscard]] allocator_usage usage() const noexcept {
    allocator_usage all;
    for (std::size_t which = 0; which < routes; ++which) {
      const allocator_usage one = memory_of(static_cast<route>(which));
      all.used_bytes += one.used_bytes;
      all.peak_bytes += one.peak_bytes;
      all.largest_request_bytes = std::max(all.largest_request_bytes, one.largest_request_bytes);
    }
    all.reserved_bytes = range_.reserved_bytes() + large_.usage().reserved_bytes;
    return all;
  }
  // O(1), of small ones O(classes of bins). Of the log, used_bytes says what its ring holds back;
  // its peak is not known.
  [[nodiscard]] route_usage usage(route which) const noexcept {
    const std::size_t at = index(which);
    return {allocations_[at], bytes_[at], fall_overs_[at], memory_of(which)};
  }

  // What is wrong inside, or nullptr. O(blocks).
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  static constexpr std::size_t routes = 8;
  static constexpr auto parts = static_cast<std::size_t>(route::large); // all before it
  static constexpr std::size_t index(route which) noexcept {
    return static_cast<std::size_t>(which);
  }
  using range = detail::divided_range<parts>;
  static_assert(range::none == parts, "what is in no part is large");

  // "level.small": by this name the part reports.
  struct part_names {
    explicit part_names(const char* router) noexcept {
      static constexpr const char* names[] = {"medium", "small",     "scratch", "frame",
                                              "task",   "permanent", "log",     "large"};
      for (std::size_t which = 0; which < routes; ++which)
        std::snprintf(text[which], sizeof text[which], "%.48s.%s", router, names[which]);
    }
    const char* of(route which) const noexcept { return text[index(which)]; }
    char text[routes][64];
  };

  static range make_range(source& upstream, const options& with) noexcept {
    const std::size_t alignment = std::bit_floor(std::min(with.medium_bytes, max_range_alignment));
    return range(upstream,
                 {with.medium_bytes, with.small_bytes, with.scratch_bytes, with.frame_bytes,
                  with.task_bytes, with.permanent_bytes,
                  detail::ring_blocks::buffer_bytes(with.log_bytes)},
                 std::max<std::size_t>(alignment, 1));
  }
  std::span<std::byte> part(route which) const noexcept { return range_.part(index(which)); }

  // Requests that fell over live in lists by how they end; frames by turns.
  detail::large_blocks::list& blocks_of(route which) noexcept {
    switch (which) {
    case route::scratch:
      return blocks_[0];
    case route::task:
      return blocks_[1];
    case route::frame:
      return blocks_[2 + frames_.this_frame().frame % 2];
    default:
      return blocks_[4];
    }
  }

  void* served(route by, void* block, std::size_t size, std::size_t alignment) noexcept {
    if (block == nullptr) [[unlikely]]
      return fall_over(by, size, alignment);
    return counted(by, block, size);
  }
  void* counted(route by, void* block, std::size_t size) noexcept {
    ++allocations_[index(by)];
    bytes_[index(by)] += size;
    return block;
  }

  [[gnu::noinline]] void* fall_over(route from, std::size_t size, std::size_t alignment) noexcept {
    if (from == route::small)
      if (void* const block = allocate_trimmed(size, alignment); block != nullptr)
        return counted(from, block, size);
    ++fall_overs_[index(from)];
    if (from == route::log)
      return try_allocate(size, alignment);
    if (from == route::small)
      return served(route::medium, medium_.try_allocate(size, alignment), size, alignment);
    return allocate_large(size, alignment, blocks_of(from));
  }

  // Empty slabs that wait for blocks of their own size may be what is missing. Not at each refusal,
  // for when there are none it costs a look at every class.
  void* allocate_trimmed(std::size_t size, std::size_t alignment) noexcept {
    if (fall_overs_[index(route::small)] % 64 != 0)
      return nullptr;
    small_.trim();
    return small_.try_allocate(size, alignment);
  }

  // Where a request belongs.
  route route_of(std::size_t size, std::size_t alignment, lifetime hint) const noexcept {
    switch (hint) {
    case lifetime::scratch:
      return route::scratch;
    case lifetime::frame:
      return route::frame;
    case lifetime::task:
      return route::task;
    case lifetime::permanent:
      return route::permanent;
    case lifetime::log:
      return route::log;
    case lifetime::object:
      break;
    }
    if (size <= bins::max_class_bytes && alignment <= max_small_alignment)
      return route::small;
    return std::max(size, alignment) <= max_medium_bytes_ ? route::medium : route::large;
  }

  [[gnu::noinline]] void* allocate_large(std::size_t size, std::size_t alignment,
                                         detail::large_blocks::list& into) noexcept {
    void* const block = large_.allocate(size, alignment, into);
    return block == nullptr ? nullptr : counted(route::large, block, size);
  }
  [[gnu::noinline]] void deallocate_large(void* block, std::size_t size) noexcept {
    detail::large_blocks::header* const found = large_.find(block);
    if (found == nullptr)
      report_misuse("foreign free", block, "it is not of this allocator, or is free already");
    if (found->size != size + (size == 0))
      report_misuse("invalid free", block, "it was allocated with another size");
    large_.release(*found);
  }

  [[nodiscard]] allocator_usage memory_of(route which) const noexcept;
  [[noreturn, gnu::cold]] void report_refusal(std::size_t size, std::size_t alignment,
                                              lifetime hint) const;

  static constexpr std::size_t max_small_alignment = 256; // as bins has it
  static constexpr std::size_t min_medium_bytes = 512;    // small objects that fall over, too
  static constexpr std::size_t max_range_alignment = std::size_t{1} << 26;
  static constexpr std::size_t small_granule_bytes = 4096;

  // Invariants: blocks_ have all large blocks: of scratch, of the task, of frames with an even and
  // with an odd number, and all others. The counts are apart, because GCC adds to neighbours with
  // vector instructions, of which it takes more.
  const part_names names_;
  source& upstream_;
  range range_;
  buffer_source nothing_{{}}; // for parts that must not take more
  buffer_source small_source_;
  bins small_;
  buddy medium_;
  arena task_;
  arena permanent_;
  frame_arena<2> frames_;
  shared_stack scratch_;
  detail::ring_blocks log_;
  detail::large_blocks large_;
  std::array<detail::large_blocks::list, 5> blocks_;
  std::array<std::size_t, routes> allocations_{};
  std::array<std::size_t, routes> bytes_{};
  std::array<std::size_t, routes> fall_overs_{};
  const std::size_t max_medium_bytes_;
};

inline router::router(const options& with) noexcept
    : allocator_base(with.name), names_(with.name),
      upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
      range_(make_range(upstream_, with)), small_source_(part(route::small), small_granule_bytes),
      small_({.name = names_.of(route::small),
              .upstream = &small_source_,
              .max_empty_bytes = part(route::small).size() / 8}),
      medium_({.name = names_.of(route::medium),
               .upstream = &upstream_,
               .memory = part(route::medium),
               .arena_bytes = 0,
               .min_block_bytes = min_medium_bytes}),
      task_({.name = names_.of(route::task), .upstream = &nothing_, .buffer = part(route::task)}),
      permanent_({.name = names_.of(route::permanent),
                  .upstream = &nothing_,
                  .buffer = part(route::permanent)}),
      frames_(
          {.name = names_.of(route::frame), .upstream = &nothing_, .buffer = part(route::frame)}),
      scratch_({.name = names_.of(route::scratch),
                .upstream = &nothing_,
                .buffer = part(route::scratch)}),
      log_(names_.of(route::log), part(route::log)), large_(upstream_),
      max_medium_bytes_(with.max_medium_bytes) {}

inline allocator_usage router::memory_of(route which) const noexcept {
  switch (which) {
  case route::medium:
    return medium_.usage();
  case route::small: {
    allocator_usage of = small_.usage();
    of.reserved_bytes = part(route::small).size();
    return of;
  }
  case route::scratch:
    return scratch_.usage();
  case route::frame:
    return frames_.usage();
  case route::task:
    return task_.usage();
  case route::permanent:
    return permanent_.usage();
  case route::log:
    return log_.usage();
  case route::large:
    break;
  }
  return large_.usage();
}

inline void router::report_refusal(std::size_t size, std::size_t alignment, lifetime hint) const {
  const route meant = route_of(size, alignment, hint);
  const allocator_usage now = memory_of(meant);
  detail::exhausted({names_.of(meant), size, alignment, now.used_bytes, now.reserved_bytes,
                     std::max(now.largest_request_bytes, size)});
}

inline const char* router::check_invariants() const noexcept {
  for (const char* const wrong :
       {small_.check_invariants(), medium_.check_invariants(),
        large_.check_invariants(blocks_[0], blocks_[1], blocks_[2], blocks_[3], blocks_[4])})
    if (wrong != nullptr)
      return wrong;
  return nullptr;
}

// A router whose requests all have one hint: an allocator for containers and compositions.
//
//   mete::hinted tasks({.to = memory, .as = mete::lifetime::task});
//   mete::resource_ref resource(tasks);
class hinted : public allocator_base<hinted> {
public:
  struct options {
    router& to; // must outlive it
    lifetime as;
  };

  explicit hinted(const options& with) noexcept
      : allocator_base(with.to.name()), router_(with.to), hint_(with.as) {}

  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    return router_.try_allocate(size, alignment, hint_);
  }
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment = default_alignment) {
    return router_.allocate(size, alignment, hint_);
  }
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    router_.deallocate(block, size, alignment);
  }
  [[nodiscard]] bool owns(const void* block) const noexcept { return router_.owns(block); }
  // Of the whole router.
  [[nodiscard]] allocator_usage usage() const noexcept { return router_.usage(); }
  void trim() noexcept { router_.trim(); }

private:
  router& router_;
  const lifetime hint_;
};

} // namespace mete

#endif
