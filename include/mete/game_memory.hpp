// game_memory: the memory of a game, in one object: a pool for each type of object, and an arena
// for what lives one frame or two.
//
// Basic design. One object_pool (object_pool.hpp) for each type named, and one frame_arena
// (frame.hpp), all on one source that counts. So each frame has a report: what it allocated from
// the frame's arena, how many objects live, and how often anything had to ask the source for more.
// A game that has warmed up should do that never; steady_frames() says for how long it has not.
//
//   mete::game_memory<mesh, enemy, bullet> memory({.name = "level 1"});
//   mete::box<bullet> one = memory.create<bullet>(position, speed);
//   auto* list = memory.make<draw_list>(); // until the frame after the next
//   memory.next_frame();
//   assert(memory.steady_frames() > 0);
//
// At the end first the frames go, then the pools, that of the last named type first: an object may
// own boxes of the types that were named before its own.
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_GAME_MEMORY_HPP
#define METE_GAME_MEMORY_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/frame.hpp>
#include <mete/object_pool.hpp>
#include <mete/source.hpp>

namespace mete {

// What happened in one frame.
struct game_frame {
  frame_statistics arena;       // the frame's number, and what it allocated from the frame's arena
  std::size_t objects = 0;      // that live, of all types
  std::size_t acquisitions = 0; // from the source; 0 in a steady frame
  std::size_t acquired_bytes = 0; // held from the source
};

struct game_memory_options {
  const char* name = "game_memory";
  source* upstream = nullptr;                // nullptr: default_source()
  std::size_t limit_bytes = SIZE_MAX;        // held from the source at any time; no more is given
  std::size_t first_frame_bytes = 64 * 1024; // first chunk of each frame's arena
  std::size_t frame_budget_bytes = SIZE_MAX; // a frame that allocates more is told of
  void (*over_budget)(void* context, const frame_statistics& so_far) = nullptr; // see frame.hpp
  void* context = nullptr;
  std::size_t max_empty_bytes = 4 * 1024 * 1024; // of empty slabs, that each pool keeps
};

template <class... Objects>
class game_memory {
public:
  using options = game_memory_options;

  // Acquires nothing yet. Frame 0 has begun.
  explicit game_memory(const options& with = {}) noexcept
      : source_(with.upstream != nullptr ? *with.upstream : default_source(), with.limit_bytes),
        pools_({.name = with.name, .upstream = &source_, .max_empty_bytes = with.max_empty_bytes}),
        frames_({.name = with.name,
                 .upstream = &source_,
                 .first_chunk_bytes = with.first_frame_bytes,
                 .budget_bytes = with.frame_budget_bytes,
                 .over_budget = with.over_budget,
                 .context = with.context}) {}
  game_memory(const game_memory&) = delete;
  game_memory& operator=(const game_memory&) = delete;

  [[nodiscard]] const char* name() const noexcept { return frames_.name(); }

  // The pool of a type: handles, visits to all that live. O(1).
  template <class T>
  [[nodiscard]] object_pool<T>& pool() noexcept {
    static_assert((std::is_same_v<T, Objects> || ...), "game_memory<...> must name this type");
    return static_cast<holder<T>&>(pools_).pool;
  }

  // An object that lives until its box ends it. O(1), but for the source and the constructor.
  // create() throws mete::out_of_memory, and what the constructor throws; try_create() gives an
  // empty box if there is no memory.
  template <class T, class... Arguments>
  box<T> create(Arguments&&... arguments) {
    return pool<T>().create(std::forward<Arguments>(arguments)...);
  }
  template <class T, class... Arguments>
  box<T>
  try_create(Arguments&&... arguments) noexcept(std::is_nothrow_constructible_v<T, Arguments...>) {
    return pool<T>().try_create(std::forward<Arguments>(arguments)...);
  }

  // A T of any type, or several side by side, until next_frame() has been called twice.
  // Throws mete::out_of_memory, and what the constructor throws.
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    return frames_.template make<T>(std::forward<Arguments>(arguments)...);
  }
  template <class T>
  std::span<T> make_span(std::size_t length) {
    return frames_.template make_span<T>(length);
  }

  // The frames' arena, for containers: resource_ref(memory.frames()).
  [[nodiscard]] frame_arena<2>& frames() noexcept { return frames_; }

  // Begins the next frame, and ends what was made in the one before this. O(1), and the
  // destructors.
  void next_frame() noexcept {
    last_ = this_frame();
    steady_frames_ = last_.acquisitions == 0 ? steady_frames_ + 1 : 0;
    acquisitions_before_ = source_.usage().acquisitions;
    frames_.next_frame();
  }

  // O(types).
  [[nodiscard]] game_frame this_frame() const noexcept {
    const source_usage held = source_.usage();
    return {frames_.this_frame(), size(), held.acquisitions - acquisitions_before_,
            held.acquired_bytes};
  }
  [[nodiscard]] game_frame last_frame() const noexcept { return last_; }

  // How many frames, up to the last one and without a gap, asked the source for nothing. O(1).
  [[nodiscard]] std::uint64_t steady_frames() const noexcept { return steady_frames_; }

  // How many objects live, of all types. O(types).
  [[nodiscard]] std::size_t size() const noexcept {
    return (std::size_t{0} + ... + static_cast<const holder<Objects>&>(pools_).pool.size());
  }

  // Gives back what nothing lives in: between levels. O(what goes).
  void trim() noexcept {
    (pool<Objects>().trim(), ...);
    frames_.trim();
  }

  // The peak is the sum of what each part had at its own. O(types).
  [[nodiscard]] allocator_usage usage() const noexcept {
    allocator_usage all = frames_.usage();
    (add(all, static_cast<const holder<Objects>&>(pools_).pool.usage()), ...);
    all.reserved_bytes = source_.usage().acquired_bytes;
    return all;
  }

private:
  template <class T>
  struct holder {
    explicit holder(const object_pool_options& with) noexcept : pool(with) {}
    object_pool<T> pool;
  };
  // Bases, for these end in the opposite order.
  struct pools : holder<Objects>... {
    explicit pools(const object_pool_options& with) noexcept : holder<Objects>(with)... {}
  };

  static void add(allocator_usage& to, const allocator_usage& one) noexcept {
    to.used_bytes += one.used_bytes;
    to.peak_bytes += one.peak_bytes;
  }

  limit_source source_;
  pools pools_;
  frame_arena<2> frames_;
  game_frame last_;
  std::size_t acquisitions_before_ = 0; // this frame
  std::uint64_t steady_frames_ = 0;
};

} // namespace mete

#endif
