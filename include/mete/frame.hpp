// frame_arena: the memory of one frame of a game, or of one round of any loop.
//
// Basic design. N arenas take turns: the frame that begins gets the arena of the frame that began N
// frames ago. So a block lives until next_frame() has been called N times: with N = 2 the frame
// that is drawn may still use what was built in the one before. (Double-buffered frame allocators:
// J. Gregory, Game Engine Architecture, section on memory management.)
//
// What a frame allocates is counted, so that "this loop allocates nothing" can be tested, and a
// frame that passes its budget is told of when it happens.
//
//   mete::frame_arena<2> frames({.name = "render", .budget_bytes = 4 << 20, .over_budget = warn});
//   while (running) {
//     auto* list = frames.make<draw_list>();
//     ...
//     frames.next_frame();
//   }
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_FRAME_HPP
#define METE_FRAME_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/arena.hpp>
#include <mete/source.hpp>

namespace mete {

// What was asked for in one frame. Blocks that were given back count too.
struct frame_statistics {
  std::uint64_t frame = 0; // from 0
  std::size_t allocations = 0;
  std::size_t bytes = 0; // as they were asked for
};

struct frame_arena_options {
  const char* name = "frame_arena";
  source* upstream = nullptr;                // nullptr: default_source()
  std::span<std::byte> buffer = {};          // used first, an N-th of it by each of the N arenas
  std::size_t first_chunk_bytes = 64 * 1024; // of each of the N arenas
  std::size_t max_chunk_bytes = 1024 * 1024;
  bool acquire_at_once = false;        // the first chunks, as in arena.hpp
  std::size_t budget_bytes = SIZE_MAX; // for one frame
  // Called once in a frame, when the budget is passed; the allocation is served nevertheless (a
  // limit_source makes it a limit). It must neither throw nor allocate
  // from the frame_arena.
  void (*over_budget)(void* context, const frame_statistics& so_far) = nullptr;
  void* context = nullptr;
};

template <std::size_t N = 2>
class frame_arena : public allocator_base<frame_arena<N>> {
  static_assert(N >= 1, "the frame that runs needs one");

public:
  using options = frame_arena_options;

  // Acquires nothing yet, unless it is told to. Frame 0 has begun.
  explicit frame_arena(const options& with = {}) noexcept
      : frame_arena(with, std::make_index_sequence<N>{}) {}

  // As arena::try_allocate(): O(1), but for the source. The block lives until next_frame() has been
  // called N times.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    void* const block = current_->try_allocate(size, alignment);
    if (block != nullptr) [[likely]]
      count(size);
    return block;
  }

  // Gives memory back only if the block is the last one of this frame. The counts stay.
  void deallocate(void* block, std::size_t size,
                  std::size_t alignment = default_alignment) noexcept {
    current_->deallocate(block, size, alignment);
  }

  // A T of this frame; its destructor runs in the call of next_frame() that ends it.
  // Throws mete::out_of_memory, and what the constructor throws.
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    T* const object = current_->template make<T>(std::forward<Arguments>(arguments)...);
    count(sizeof(T));
    return object;
  }
  template <class T>
  std::span<T> make_span(std::size_t length) {
    const std::span<T> objects = current_->template make_span<T>(length);
    if (length != 0)
      count(objects.size_bytes());
    return objects;
  }

  // Begins the next frame, and ends the one that began N frames before it. The memory is kept for
  // later frames. O(1), and the destructors.
  void next_frame() noexcept {
    peak_ = peak_frame();
    last_ = this_frame();
    ++frame_;
    allocations_ = bytes_ = 0;
    report_above_ = budget_bytes_;
    ++current_;
    if (current_ == arenas_.data() + N)
      current_ = arenas_.data();
    current_->reset();
  }

  // All O(1). bytes and allocations of make() count the object, not the arena's note of it.
  [[nodiscard]] std::size_t allocations_this_frame() const noexcept { return allocations_; }
  [[nodiscard]] std::size_t bytes_this_frame() const noexcept { return bytes_; }
  [[nodiscard]] frame_statistics this_frame() const noexcept {
    return {frame_, allocations_, bytes_};
  }
  [[nodiscard]] frame_statistics last_frame() const noexcept { return last_; } // the one before
  // The one with the most bytes so far; of equal ones the first.
  [[nodiscard]] frame_statistics peak_frame() const noexcept {
    return bytes_ > peak_.bytes ? this_frame() : peak_;
  }

  // Gives back the chunks in which nothing lives. O(such chunks).
  void trim() noexcept {
    for (arena& each : arenas_)
      each.trim();
  }

  // Whether the address lies in memory of any frame. O(chunks).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    for (const arena& each : arenas_)
      if (each.owns(block))
        return true;
    return false;
  }

  // Of the N frames together; the peak is the sum of what each arena had at its own. O(N).
  [[nodiscard]] allocator_usage usage() const noexcept {
    allocator_usage all;
    for (const arena& each : arenas_) {
      const allocator_usage one = each.usage();
      all.used_bytes += one.used_bytes;
      all.reserved_bytes += one.reserved_bytes;
      all.peak_bytes += one.peak_bytes;
      all.largest_request_bytes = std::max(all.largest_request_bytes, one.largest_request_bytes);
    }
    return all;
  }

private:
  template <std::size_t... I>
  frame_arena(const options& with, std::index_sequence<I...>) noexcept
      : allocator_base<frame_arena>(with.name), arenas_{arena(arena_options{
                                                    .name = with.name,
                                                    .upstream = with.upstream,
                                                    .buffer = part(with.buffer, I),
                                                    .first_chunk_bytes = with.first_chunk_bytes,
                                                    .max_chunk_bytes = with.max_chunk_bytes,
                                                    .acquire_at_once = with.acquire_at_once})...},
        report_above_(with.budget_bytes), budget_bytes_(with.budget_bytes),
        over_budget_(with.over_budget), context_(with.context) {}

  static std::span<std::byte> part(std::span<std::byte> buffer, std::size_t which) noexcept {
    const std::size_t bytes = buffer.size() / N;
    return buffer.subspan(which * bytes, bytes);
  }

  void count(std::size_t size) noexcept {
    ++allocations_;
    bytes_ += size;
    if (bytes_ > report_above_) [[unlikely]]
      report_budget();
  }

  [[gnu::noinline]] void report_budget() noexcept {
    report_above_ = SIZE_MAX; // once a frame
    if (over_budget_ != nullptr)
      over_budget_(context_, this_frame());
  }

  // Invariant: current_ is the arena with the index frame_ % N. The two counts are apart, because
  // GCC adds to neighbours with vector instructions, of which it takes more.
  std::array<arena, N> arenas_;
  arena* current_ = arenas_.data();
  std::size_t allocations_ = 0;
  std::size_t report_above_; // the budget, or SIZE_MAX when it has been told of
  std::size_t bytes_ = 0;
  std::uint64_t frame_ = 0;
  frame_statistics last_;
  frame_statistics peak_;
  const std::size_t budget_bytes_;
  void (*const over_budget_)(void*, const frame_statistics&);
  void* const context_;
};

} // namespace mete

#endif
