// arena: memory for things that end together, such as those of one request, frame or parse.
//
// Basic design. A pointer moves through a chunk; when the chunk is full, the next one follows,
// twice as large up to a limit. Blocks are not freed one by one: reset() and rewind() move the
// pointer back and keep the chunks for what comes next, so both are O(1), whatever was allocated,
// but for the destructors that make() has registered. (Regions: D. Hanson, Fast Allocation and
// Deallocation of Memory Based on Object Lifetimes, 1990; R. Tofte and J.-P. Talpin, 1997.)
//
//   mete::arena request({.name = "request"});
//   auto* header = request.make<http_header>(line);
//   ...
//   request.reset();
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_ARENA_HPP
#define METE_ARENA_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/construct.hpp>
#include <mete/source.hpp>

namespace mete {

struct arena_options {
  const char* name = "arena";
  source* upstream = nullptr;                // nullptr: default_source()
  std::span<std::byte> buffer = {};          // used first, before anything is acquired
  std::size_t first_chunk_bytes = 4096;      // acquired at the first allocation, not before
  std::size_t max_chunk_bytes = 1024 * 1024; // growth stops doubling here
  bool acquire_at_once = false;              // the first chunk, where there is no buffer
};

class arena : public allocator_base<arena> {
  struct chunk;
  struct finalizer;

public:
  using options = arena_options;

  // A place in the arena; see rewind(). It is no longer valid after a reset() or a rewind() to an
  // earlier place.
  class mark_type {
    friend arena;
    chunk* chunk_;
    std::byte* cursor_;
    std::size_t used_before_;
    finalizer* finalizers_;
  };

  // Rewinds when it ends.
  class [[nodiscard]] scope_type {
  public:
    explicit scope_type(arena& in) noexcept : arena_(&in), mark_(in.mark()) {}
    scope_type(scope_type&& other) noexcept
        : arena_(std::exchange(other.arena_, nullptr)), mark_(other.mark_) {}
    scope_type& operator=(scope_type&&) = delete;
    ~scope_type() {
      if (arena_ != nullptr)
        arena_->rewind(mark_);
    }

  private:
    arena* arena_;
    mark_type mark_;
  };

  // Acquires nothing yet, unless it is told to.
  explicit arena(const options& with = {}) noexcept
      : allocator_base(with.name),
        upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        next_chunk_bytes_(std::max(with.first_chunk_bytes, min_chunk_bytes)),
        max_chunk_bytes_(std::max(with.max_chunk_bytes, next_chunk_bytes_)) {
    adopt(with.buffer);
    if (with.acquire_at_once && first_ == nullptr)
      enter(acquire_chunk(next_chunk_bytes_), 0);
  }
  ~arena() {
    finalize(nullptr);
    release_after(nullptr);
  }

  // O(1), but for the source when a chunk is full. nullptr if that has no more, or `alignment` is
  // no power of two.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    const std::uintptr_t begin = detail::align_up(detail::address_of(cursor_), alignment);
    const std::uintptr_t end = begin + size;
    // The second comparison: a size of 0, or one with which the sum has wrapped around.
    if (end > limit_ || end <= begin || !detail::is_power_of_two(alignment)) [[unlikely]]
      return allocate_slow(size, alignment);
    auto* const block = reinterpret_cast<std::byte*>(begin);
    // Asks for the cache line that the caller is about to write. The write itself would ask for it
    // only when its turn has come, and the next write of cursor_ would wait behind it. (Java's
    // HotSpot does so too: allocation prefetch.)
    __builtin_prefetch(block, 1);
    cursor_ = block + size;
    return block;
  }

  // Gives memory back only if the block is the last one; else it waits for reset() or rewind().
  void deallocate(void* block, std::size_t size, std::size_t = default_alignment) noexcept {
    size += size == 0;
    detail::unusable(block, size);
    if (static_cast<std::byte*>(block) + size == cursor_) {
      note_peak();
      cursor_ = static_cast<std::byte*>(block);
    }
  }

  // Makes the block larger or smaller in place. True if it is the last one and there is room. O(1).
  [[nodiscard]] bool try_expand(void* block, std::size_t old_size, std::size_t new_size) noexcept {
    auto* const begin = static_cast<std::byte*>(block);
    old_size += old_size == 0;
    new_size += new_size == 0;
    if (begin + old_size != cursor_ || new_size > static_cast<std::size_t>(current_end() - begin))
      return false;
    note_peak();
    detail::unusable(begin, old_size);
    detail::usable(begin, new_size);
    cursor_ = begin + new_size;
    return true;
  }

  // A T in the arena. Its destructor, if it has one that does anything, runs at reset(), at a
  // rewind() to an earlier place, or at the arena's end; the last made is destroyed first. Such an
  // object costs a note of 32 bytes; one whose destructor does nothing costs itself only.
  // Throws mete::out_of_memory, and what the constructor throws.
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    if constexpr (std::is_trivially_destructible_v<T>) {
      return detail::construct<T>(allocate(sizeof(T), alignof(T)),
                                  std::forward<Arguments>(arguments)...);
    } else {
      void* const note = allocate(sizeof(finalizer), alignof(finalizer));
      T* const object = detail::construct<T>(allocate(sizeof(T), alignof(T)),
                                             std::forward<Arguments>(arguments)...);
      add_finalizer(note, object, 1, destroy<T>);
      return object;
    }
  }

  // `count` value-initialised Ts, side by side; as make().
  template <class T>
  std::span<T> make_span(std::size_t count) {
    if (count == 0)
      return {};
    std::size_t bytes = 0;
    if (!detail::multiply(count, sizeof(T), bytes))
      report_exhaustion(SIZE_MAX, alignof(T));
    void* note = nullptr;
    if constexpr (!std::is_trivially_destructible_v<T>)
      note = allocate(sizeof(finalizer), alignof(finalizer));
    T* const objects = static_cast<T*>(allocate(bytes, alignof(T)));
    std::uninitialized_value_construct_n(objects, count);
    if constexpr (!std::is_trivially_destructible_v<T>)
      add_finalizer(note, objects, count, destroy<T>);
    return {objects, count};
  }

  // The place that rewind() goes back to. O(1).
  [[nodiscard]] mark_type mark() const noexcept {
    mark_type here;
    here.chunk_ = current_;
    here.cursor_ = cursor_;
    here.used_before_ = used_before_;
    here.finalizers_ = finalizers_;
    return here;
  }

  // Ends everything that was allocated since `to` was taken. The chunks stay for what comes next.
  // O(1) and the destructors.
  void rewind(const mark_type& to) noexcept {
    if (to.used_before_ > used_before_ || (to.chunk_ == current_ && to.cursor_ > cursor_))
      report_misuse("rewind", to.cursor_, "the mark was taken in what has been ended since");
    note_peak();
    finalize(to.finalizers_);
    if (to.chunk_ == nullptr)
      enter(first_, 0);
    else {
      enter(to.chunk_, to.used_before_);
      cursor_ = to.cursor_;
    }
    if (detail::annotating())
      declare_unusable();
  }

  // rewind(mark()) when the returned object ends. Scopes nest.
  scope_type scope() noexcept { return scope_type(*this); }

  // Ends everything. Chunks stay for what comes next, as many as fit in `keep_bytes`, the oldest
  // first. O(1), the destructors, and one release for each chunk that goes.
  void reset(std::size_t keep_bytes = SIZE_MAX) noexcept {
    note_peak();
    finalize(nullptr);
    enter(first_, 0);
    if (detail::annotating())
      declare_unusable();
    if (keep_bytes < reserved_bytes_)
      release_beyond(keep_bytes);
  }

  // Gives the chunks back in which nothing lives. O(such chunks).
  void trim() noexcept {
    if (used_bytes() == 0) {
      release_beyond(0);
    } else {
      release_after(current_);
    }
  }

  // Whether the address lies in one of the chunks. O(chunks).
  [[nodiscard]] bool owns(const void* block) const noexcept {
    for (const chunk* each = first_; each != nullptr; each = each->next)
      if (detail::address_of(block) - detail::address_of(each) < each->bytes)
        return true;
    return false;
  }

  // used_bytes counts what alignment and the ends of chunks cost.
  [[nodiscard]] allocator_usage usage() const noexcept {
    const std::size_t used = used_bytes();
    return {used, reserved_bytes_, std::max(peak_bytes_, used), largest_request_bytes_};
  }

private:
  // Lies at the begin of its memory. `next` was acquired later.
  struct chunk {
    chunk* next;
    std::size_t bytes; // this header included
    bool acquired;     // and not the caller's buffer

    std::byte* begin() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
    std::byte* end() noexcept { return reinterpret_cast<std::byte*>(this) + bytes; }
  };
  struct finalizer {
    finalizer* next;
    void* objects;
    std::size_t count;
    void (*run)(void* objects, std::size_t count) noexcept;
  };
  static constexpr std::size_t min_chunk_bytes = 256;

  template <class T>
  static void destroy(void* objects, std::size_t count) noexcept {
    T* const begin = static_cast<T*>(objects);
    while (count != 0)
      std::destroy_at(begin + --count);
  }

  void add_finalizer(void* note, void* objects, std::size_t count,
                     void (*run)(void*, std::size_t) noexcept) noexcept {
    finalizers_ = new (note) finalizer{finalizers_, objects, count, run};
  }

  void finalize(const finalizer* until) noexcept {
    while (finalizers_ != until) {
      const finalizer last = *finalizers_;
      finalizers_ = last.next; // first: a destructor may look at the arena
      last.run(last.objects, last.count);
    }
  }

  // Continues at the begin of a chunk; nullptr: there is none yet.
  void enter(chunk* which, std::size_t used_before) noexcept {
    current_ = which;
    used_before_ = used_before;
    cursor_ = which != nullptr ? which->begin() : nullptr;
    limit_ = detail::annotating() ? 0 : detail::address_of(current_end());
  }
  std::byte* current_end() const noexcept {
    return current_ != nullptr ? current_->end() : nullptr;
  }

  std::size_t used_bytes() const noexcept {
    return used_before_ +
           (current_ != nullptr ? static_cast<std::size_t>(cursor_ - current_->begin()) : 0);
  }

  void note_peak() noexcept { peak_bytes_ = std::max(peak_bytes_, used_bytes()); }

  // The current chunk is full, the request is one that cannot be or of 0 bytes, or somebody
  // listens.
  [[gnu::noinline]] void* allocate_slow(std::size_t size, std::size_t alignment) noexcept {
    if (!detail::is_power_of_two(alignment))
      return nullptr;
    size += size == 0;
    void* const block = allocate_in_current(size, alignment);
    return block != nullptr ? block : allocate_in_next(size, alignment);
  }

  void* allocate_in_current(std::size_t size, std::size_t alignment) noexcept {
    const std::size_t padding = (0 - detail::address_of(cursor_)) & (alignment - 1);
    const auto room = static_cast<std::size_t>(current_end() - cursor_);
    if (padding > room || size > room - padding)
      return nullptr;
    std::byte* const block = cursor_ + padding;
    cursor_ = block + size;
    detail::usable(block, size);
    return block;
  }

  void* allocate_in_next(std::size_t size, std::size_t alignment) noexcept {
    largest_request_bytes_ = std::max(largest_request_bytes_, size);
    // The chunk begins at the default alignment; more may cost up to `alignment` bytes.
    std::size_t needed = sizeof(chunk);
    if (!detail::add(needed, size, needed) || !detail::add(needed, alignment, needed))
      return nullptr;
    chunk* next = find_chunk(needed);
    if (next == nullptr)
      next = acquire_chunk(needed);
    if (next == nullptr)
      return nullptr;
    const std::size_t used =
        current_ != nullptr ? used_before_ + current_->bytes - sizeof(chunk) : 0;
    enter(next, used);
    return allocate_in_current(size, alignment);
  }

  // The first chunk after the current one; mostly the very next.
  chunk*& next_link() noexcept { return current_ != nullptr ? current_->next : first_; }

  // The first of the unused chunks that is large enough, brought right behind the current one.
  chunk* find_chunk(std::size_t needed) noexcept {
    for (chunk** link = &next_link(); *link != nullptr; link = &(*link)->next) {
      chunk* const found = *link;
      if (found->bytes < needed)
        continue;
      *link = found->next;
      found->next = next_link();
      next_link() = found;
      return found;
    }
    return nullptr;
  }

  // A chunk right behind the current one.
  chunk* acquire_chunk(std::size_t needed) noexcept {
    std::span<std::byte> memory = upstream_.acquire(std::max(needed, next_chunk_bytes_));
    if (memory.empty() && needed < next_chunk_bytes_)
      memory = upstream_.acquire(needed); // less is better than nothing
    if (memory.empty())
      return nullptr;
    next_chunk_bytes_ = std::min(2 * next_chunk_bytes_, max_chunk_bytes_);
    return insert_chunk(memory, true);
  }

  chunk* insert_chunk(std::span<std::byte> memory, bool acquired) noexcept {
    chunk*& link = next_link();
    auto* const added = new (memory.data()) chunk{link, memory.size(), acquired};
    link = added;
    reserved_bytes_ += added->bytes - sizeof(chunk);
    detail::unusable(added->begin(), added->bytes - sizeof(chunk));
    return added;
  }

  void adopt(std::span<std::byte> buffer) noexcept {
    void* begin = buffer.data();
    std::size_t bytes = buffer.size();
    if (begin == nullptr || std::align(alignof(chunk), min_chunk_bytes, begin, bytes) == nullptr)
      return; // too small to be of use
    enter(insert_chunk({static_cast<std::byte*>(begin), bytes}, false), 0);
  }

  // Everything behind the cursor.
  void declare_unusable() noexcept {
    if (current_ == nullptr)
      return;
    detail::unusable(cursor_, static_cast<std::size_t>(current_end() - cursor_));
    for (chunk* each = current_->next; each != nullptr; each = each->next)
      detail::unusable(each->begin(), each->bytes - sizeof(chunk));
  }

  // REQUIRES: nothing lives. The caller's buffer stays anyway.
  void release_beyond(std::size_t keep_bytes) noexcept {
    chunk* last_kept = nullptr;
    std::size_t kept = 0;
    for (chunk* each = first_; each != nullptr; each = each->next) {
      kept += each->bytes - sizeof(chunk);
      if (each->acquired && kept > keep_bytes)
        break;
      last_kept = each;
    }
    release_after(last_kept);
    enter(first_, 0);
  }

  // nullptr: all of them.
  void release_after(chunk* last) noexcept {
    chunk*& link = last != nullptr ? last->next : first_;
    while (chunk* const gone = link) {
      link = gone->next;
      reserved_bytes_ -= gone->bytes - sizeof(chunk);
      if (gone->acquired)
        upstream_.release({reinterpret_cast<std::byte*>(gone), gone->bytes});
      else
        detail::usable(gone, gone->bytes);
    }
  }

  // Invariants: cursor_ lies in current_ and limit_ is its end, or all three are null; if somebody
  // listens, limit_ is always null, so that every request is told. Chunks behind current_ hold
  // nothing. used_before_ is the room of the chunks before current_.
  std::byte* cursor_ = nullptr;
  std::uintptr_t limit_ = 0;
  chunk* current_ = nullptr;
  chunk* first_ = nullptr;
  finalizer* finalizers_ = nullptr;
  source& upstream_;
  std::size_t used_before_ = 0;
  std::size_t reserved_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
  std::size_t largest_request_bytes_ = 0;
  std::size_t next_chunk_bytes_;
  const std::size_t max_chunk_bytes_;
};

} // namespace mete

#endif
