// Sources: where allocators get the big blocks that they divide.
//
//   heap_source      the C library's heap, or whatever malloc the process runs on
//   buffer_source    memory that you have: an array, a static buffer, a stack frame
//   limit_source     another source, up to a number of bytes
//   resource_source  a std::pmr::memory_resource
//   page_source, shared_memory_source: headers of their own
//
// A source is virtual and cold: an allocator asks it once for many blocks of its own. It must
// outlive the allocators that use it.
//
// SPDX-License-Identifier: MIT
#ifndef METE_SOURCE_HPP
#define METE_SOURCE_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory_resource>
#include <new>
#include <span>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/free_ranges.hpp>

namespace mete {

// A snapshot. Bytes as they were handed out, with what rounding adds.
struct source_usage {
  std::size_t acquired_bytes = 0; // now out
  std::size_t peak_bytes = 0;     // the most that was ever out
  std::size_t acquisitions = 0;   // calls of acquire() that succeeded, so far
  std::size_t failures = 0;       // and that did not
  const char* note = nullptr;     // what is not as it was asked for, such as huge pages; or nullptr
};

// Thread safety: acquire(), release() and usage() may be called from any thread where the class
// says so; the counts are exact always.
class source {
public:
  source(const source&) = delete;
  source& operator=(const source&) = delete;
  virtual ~source() = default;

  // At least `bytes` bytes at a multiple of `alignment`, or an empty span. What is more than was
  // asked for may be used. Refused are a size of 0 or above PTRDIFF_MAX, and an alignment that is
  // no power of two.
  [[nodiscard]] std::span<std::byte> acquire(std::size_t bytes,
                                             std::size_t alignment = default_alignment) noexcept {
    std::span<std::byte> block;
    if (bytes != 0 && bytes <= PTRDIFF_MAX && detail::is_power_of_two(alignment))
      block = do_acquire(bytes, alignment);
    if (block.empty())
      failures_.fetch_add(1, std::memory_order_relaxed);
    else
      count(block.size());
    return block;
  }

  // REQUIRES: exactly what acquire() returned, and the alignment it was asked for with.
  void release(std::span<std::byte> block, std::size_t alignment = default_alignment) noexcept {
    acquired_bytes_.fetch_sub(block.size(), std::memory_order_relaxed);
    detail::usable(block.data(),
                   block.size()); // whoever has it next knows nothing of the allocator
    do_release(block, alignment);
  }

  // O(1).
  [[nodiscard]] source_usage usage() const noexcept {
    return {acquired_bytes_.load(std::memory_order_relaxed),
            peak_bytes_.load(std::memory_order_relaxed),
            acquisitions_.load(std::memory_order_relaxed),
            failures_.load(std::memory_order_relaxed), note_.load(std::memory_order_relaxed)};
  }

protected:
  source() = default;

  // `text` must outlive the source.
  void set_note(const char* text) noexcept { note_.store(text, std::memory_order_relaxed); }

private:
  virtual std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept = 0;
  virtual void do_release(std::span<std::byte> block, std::size_t alignment) noexcept = 0;

  void count(std::size_t bytes) noexcept {
    acquisitions_.fetch_add(1, std::memory_order_relaxed);
    const std::size_t now = acquired_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    std::size_t peak = peak_bytes_.load(std::memory_order_relaxed);
    while (peak < now && !peak_bytes_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }

  std::atomic<std::size_t> acquired_bytes_{0};
  std::atomic<std::size_t> peak_bytes_{0};
  std::atomic<std::size_t> acquisitions_{0};
  std::atomic<std::size_t> failures_{0};
  std::atomic<const char*> note_{nullptr};
};

// Any thread may use it.
class heap_source final : public source {
private:
  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    void* block = nullptr;
    if (alignment <= default_alignment)
      block = std::malloc(bytes);
    else if (posix_memalign(&block, alignment, bytes) != 0)
      return {};
    if (block == nullptr)
      return {};
    return {static_cast<std::byte*>(block), bytes};
  }
  void do_release(std::span<std::byte> block, std::size_t) noexcept override {
    std::free(block.data());
  }
};

// The source of allocators that are not told of another: one heap_source for the whole process,
// which is never destroyed, so that allocators with static lifetime may use it to their end.
inline source& default_source() noexcept {
  alignas(heap_source) static std::byte storage[sizeof(heap_source)];
  static source* const only = new (storage) heap_source;
  return *only;
}

// Divides memory that the caller has and keeps. One thread at a time. Blocks may come back in any
// order, and are joined. O(free ranges).
class buffer_source final : public source {
public:
  // Blocks begin at multiples of the granule and are rounded up to it: a large one leaves no
  // crumbs between blocks that are nearly as large. REQUIRES: a power of two, at least the default.
  static constexpr std::size_t default_granule_bytes =
      std::max(detail::free_ranges::min_granule, default_alignment);
  explicit buffer_source(std::span<std::byte> buffer,
                         std::size_t granule_bytes = default_granule_bytes) noexcept
      : buffer_(buffer), free_(granule_bytes) {
    free_.insert(buffer);
  }
  ~buffer_source() override { detail::usable(buffer_.data(), buffer_.size()); }

  // What acquire() could give, if it were in one piece.
  [[nodiscard]] std::size_t free_bytes() const noexcept { return free_.free_bytes(); }

private:
  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    return free_.take(bytes, alignment);
  }
  void do_release(std::span<std::byte> block, std::size_t) noexcept override {
    if (block.data() < buffer_.data() ||
        block.data() + block.size() > buffer_.data() + buffer_.size())
      detail::misused({"buffer_source", "release", block.data(), "it is not of this buffer"});
    if (free_.overlaps(block))
      detail::misused({"buffer_source", "release", block.data(), "it, or a part of it, is free"});
    free_.insert(block);
  }

  std::span<std::byte> buffer_;
  detail::free_ranges free_;
};

// Another source, of which at most `limit_bytes` are out at any time. As thread-safe as that one.
class limit_source final : public source {
public:
  limit_source(source& upstream, std::size_t limit_bytes) noexcept
      : upstream_(upstream), limit_bytes_(limit_bytes) {}

  [[nodiscard]] std::size_t limit_bytes() const noexcept { return limit_bytes_; }

private:
  // Claimed before it is asked for, so that two threads cannot pass the limit together.
  bool claim(std::size_t bytes) noexcept {
    std::size_t out = out_bytes_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_bytes_ - std::min(out, limit_bytes_))
        return false;
    } while (!out_bytes_.compare_exchange_weak(out, out + bytes, std::memory_order_acquire,
                                               std::memory_order_relaxed));
    return true;
  }

  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    if (!claim(bytes)) {
      set_note("the limit was reached");
      return {};
    }
    const std::span<std::byte> block = upstream_.acquire(bytes, alignment);
    // What rounding added counts too.
    if (!block.empty() && block.size() > bytes && !claim(block.size() - bytes)) {
      upstream_.release(block, alignment);
      out_bytes_.fetch_sub(bytes, std::memory_order_release);
      set_note("the limit was reached");
      return {};
    }
    if (block.empty())
      out_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return block;
  }
  void do_release(std::span<std::byte> block, std::size_t alignment) noexcept override {
    // Only what upstream has may be claimed anew: released before acquired, as upstream sees it.
    upstream_.release(block, alignment);
    out_bytes_.fetch_sub(block.size(), std::memory_order_release);
  }

  source& upstream_;
  const std::size_t limit_bytes_;
  std::atomic<std::size_t> out_bytes_{0};
};

// A memory_resource as a source. As thread-safe as the resource.
class resource_source final : public source {
public:
  // REQUIRES: not null; outlives this.
  explicit resource_source(std::pmr::memory_resource* resource) noexcept : resource_(resource) {}

private:
  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
#if defined(__cpp_exceptions)
    try {
      return {static_cast<std::byte*>(resource_->allocate(bytes, alignment)), bytes};
    } catch (...) {
      return {};
    }
#else
    return {static_cast<std::byte*>(resource_->allocate(bytes, alignment)), bytes};
#endif
  }
  void do_release(std::span<std::byte> block, std::size_t alignment) noexcept override {
    resource_->deallocate(block.data(), block.size(), alignment);
  }

  std::pmr::memory_resource* resource_;
};

} // namespace mete

#endif
