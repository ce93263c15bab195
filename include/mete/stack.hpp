// shared_stack: one region that several threads take memory from at the same time.
//
// Basic design. The only state is how much of the region is in use, one atomic number. allocate
// computes where the block would end and moves the number there by compare-and-swap; a request that
// does not fit changes nothing, so the number never passes the end, and when it was read does not
// matter: equal numbers mean equal states, so there is no ABA. Blocks are ended by taking the
// number down again. (Bump allocation is folklore; fetch-and-add, which is faster under contention,
// cannot do this: it has moved the number before it knows whether the block fits.)
//
// What marks mean with several threads. The region is one, and so is its top: a mark is a height,
// and rewind() ends every block above it, whichever thread has it. So
//   - rewind(), reset() and the end of a scope are for moments when no thread needs what was
//     allocated since: the end of a phase, after a join or a barrier;
//   - a thread that allocates while another one rewinds gets a valid block, but cannot know whether
//     the rewind has ended it: don't;
//   - deallocate() is safe at any time: it ends the block only if it is the topmost one.
// Whatever the threads do, blocks that were given since the last rewind do not overlap.
//
//   mete::shared_stack level({.name = "level", .bytes = 64 << 20});
//   ... // workers: level.allocate(...)
//   level.reset(); // after they have joined
//
// Thread safety: try_allocate, allocate, deallocate, owns, usage and mark may be called by any
// thread at any time; lock-free. The others as said.
//
// SPDX-License-Identifier: MIT
#ifndef METE_STACK_HPP
#define METE_STACK_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/hardware_memory.hpp>
#include <mete/source.hpp>

namespace mete {

struct shared_stack_options {
  const char* name = "shared_stack";
  source* upstream = nullptr;       // nullptr: default_source()
  std::span<std::byte> buffer = {}; // the region; if there is none, `bytes` are acquired
  std::size_t bytes = 1024 * 1024;
};

// `Memory` is for the tests.
template <class Memory = detail::hardware_memory>
class basic_shared_stack : public allocator_base<basic_shared_stack<Memory>> {
public:
  using options = shared_stack_options;

  // A height; see rewind(). It is no longer valid after a reset() or a rewind() to a lower one.
  class mark_type {
    friend basic_shared_stack;
    std::size_t used_;
  };

  // Rewinds when it ends.
  class [[nodiscard]] scope_type {
  public:
    explicit scope_type(basic_shared_stack& in) noexcept : stack_(&in), mark_(in.mark()) {}
    scope_type(scope_type&& other) noexcept
        : stack_(std::exchange(other.stack_, nullptr)), mark_(other.mark_) {}
    scope_type& operator=(scope_type&&) = delete;
    ~scope_type() {
      if (stack_ != nullptr)
        stack_->rewind(mark_);
    }

  private:
    basic_shared_stack* stack_;
    mark_type mark_;
  };

  // Acquires the region at once, for nobody could do it alone later; a page that nothing was
  // allocated in costs nothing with most sources. If there is none, nothing is ever given.
  explicit basic_shared_stack(const options& with = {}) noexcept
      : allocator_base<basic_shared_stack>(with.name),
        upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        acquired_(with.buffer.empty()),
        region_(acquired_ ? upstream_.acquire(with.bytes, region_alignment) : with.buffer) {
    detail::unusable(region_.data(), region_.size());
  }
  ~basic_shared_stack() {
    if (region_.empty())
      return;
    if (acquired_)
      upstream_.release(region_, region_alignment);
    else
      detail::usable(region_.data(), region_.size());
  }

  // O(1) without contention; lock-free. nullptr if the region has no room, or `alignment` is no
  // power of two.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    size += size == 0;
    std::size_t used = used_.load(std::memory_order_relaxed);
    for (;;) {
      const std::size_t padding =
          (0 - (detail::address_of(region_.data()) + used)) & (alignment - 1);
      const std::size_t room = region_.size() - used;
      if (padding > room || size > room - padding || !detail::is_power_of_two(alignment))
          [[unlikely]]
        return refuse(size);
      // acquire: who had this memory before was done with it when he took the number down.
      if (used_.compare_exchange_weak(used, used + padding + size, std::memory_order_acquire,
                                      std::memory_order_relaxed)) [[likely]] {
        std::byte* const block = region_.data() + used + padding;
        declare_usable(block, size);
        return block;
      }
    }
  }

  // Gives memory back only if the block is the topmost one; else it waits for a rewind() or
  // reset(). O(1), at any time.
  void deallocate(void* block, std::size_t size, std::size_t = default_alignment) noexcept {
    size += size == 0;
    const std::size_t begin = offset_of(block);
    if (begin > region_.size() || size > region_.size() - begin) [[unlikely]]
      this->report_misuse("deallocate", block, "it is not of this stack");
    std::size_t used = used_.load(std::memory_order_relaxed);
    // A block that lives is below the top in every value that its holder can read.
    if (begin + size > used) [[unlikely]]
      this->report_misuse("deallocate", block, "it has been ended already");
    declare_unusable(block, size); // now: afterwards it may be somebody else's
    if (begin + size != used)
      return;
    note_peak(used);
    // release: pairs with try_allocate().
    used_.compare_exchange_strong(used, begin, std::memory_order_release,
                                  std::memory_order_relaxed);
  }

  // The height that rewind() goes back to. O(1).
  [[nodiscard]] mark_type mark() const noexcept {
    mark_type here;
    here.used_ = used_.load(std::memory_order_relaxed);
    return here;
  }

  // Ends everything above the mark, of all threads. O(1).
  // REQUIRES: no thread uses that any more, or allocates meanwhile.
  void rewind(const mark_type& to) noexcept {
    std::size_t used = used_.load(std::memory_order_relaxed);
    do {
      if (to.used_ > used)
        this->report_misuse("rewind", region_.data() + to.used_,
                            "the mark was taken in what has been ended since");
      note_peak(used);
      declare_unusable(region_.data() + to.used_, used - to.used_);
      // release: pairs with try_allocate().
    } while (!used_.compare_exchange_weak(used, to.used_, std::memory_order_release,
                                          std::memory_order_relaxed));
  }

  // rewind(mark()) when the returned object ends. Scopes nest; those of different threads must not
  // overlap in time.
  scope_type scope() noexcept { return scope_type(*this); }

  // Ends everything, as rewind().
  void reset() noexcept {
    mark_type bottom;
    bottom.used_ = 0;
    rewind(bottom);
  }

  // O(1).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    return offset_of(block) < region_.size();
  }

  // used_bytes counts what alignment costs and what was deallocated below the top; peak_bytes is
  // the highest the stack ever was. Of the requests, only those that were refused are remembered.
  // O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    const std::size_t used = used_.load(std::memory_order_relaxed);
    return {used, region_.size(), std::max(peak_.load(std::memory_order_relaxed), used),
            largest_refused_.load(std::memory_order_relaxed)};
  }

  // For the tests, which watch it.
  auto& used_for_test() noexcept { return used_; }

private:
  template <class T>
  using atomic = typename Memory::template atomic<T>;
  static constexpr std::size_t region_alignment = 64; // a cache line

  std::size_t offset_of(const void* block) const noexcept {
    return detail::address_of(block) - detail::address_of(region_.data());
  }

  static void raise(atomic<std::size_t>& to, std::size_t value) noexcept {
    std::size_t now = to.load(std::memory_order_relaxed);
    while (now < value && !to.compare_exchange_weak(now, value, std::memory_order_relaxed,
                                                    std::memory_order_relaxed)) {
    }
  }

  // AddressSanitizer keeps what it knows of eight bytes in one. Where two blocks share such eight,
  // two threads must not change it at the same time to something else, so there it is told that
  // all of them are usable.
#if defined(METE_DETAIL_ASAN)
  static constexpr std::size_t shadow_granule = 8;
#else
  static constexpr std::size_t shadow_granule = 1;
#endif

  void declare_usable(const void* block, std::size_t size) const noexcept {
    if constexpr (shadow_granule == 1) {
      detail::usable(block, size);
    } else {
      const std::size_t outside = detail::address_of(block) & (shadow_granule - 1);
      const std::size_t before = std::min(outside, offset_of(block));
      const std::size_t rounded = detail::align_up(size + outside, shadow_granule) - outside;
      detail::usable(static_cast<const std::byte*>(block) - before,
                     before + std::min(rounded, region_.size() - offset_of(block)));
    }
  }
  static void declare_unusable(const void* begin, std::size_t bytes) noexcept {
    const std::size_t kept = (0 - detail::address_of(begin)) & (shadow_granule - 1);
    if (bytes > kept)
      detail::unusable(static_cast<const std::byte*>(begin) + kept,
                       detail::align_down(bytes - kept, shadow_granule));
  }

  // Before the number goes down, which is when it would be forgotten.
  void note_peak(std::size_t used) noexcept {
    raise(peak_, used);
  }

  [[gnu::noinline, gnu::cold]] void* refuse(std::size_t size) noexcept {
    raise(largest_refused_, size);
    return nullptr;
  }

  source& upstream_;
  const bool acquired_;
  const std::span<std::byte> region_;
  // Invariant: used_ <= region_.size(), always. It has a cache line of its own: reads of the rest
  // would wait for its writes.
  alignas(64) atomic<std::size_t> used_{0};
  alignas(64) atomic<std::size_t> peak_{0};
  atomic<std::size_t> largest_refused_{0};
};

using shared_stack = basic_shared_stack<>;

} // namespace mete

#endif
