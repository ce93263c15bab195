// object_pool: objects of one type that come and go: particles, bullets, connections.
//
// Basic design. Objects lie in slabs, as slab_cache's do (detail/slabs.hpp); each slab's size is
// known from the type, so a pointer alone is enough to find the slab and the pool. box<T> is such a
// pointer that destroys its object. Each slab has a number, and each place in it a generation,
// which is odd while an object lives there: number, place and generation are a handle, which can be
// kept after the object has gone and then says so.
//
//   mete::object_pool<bullet> bullets({.name = "bullets"});
//   mete::box<bullet> one = bullets.create(position, speed);
//   const auto handle = bullets.handle_of(*one);
//   one.reset();
//   assert(bullets.get(handle) == nullptr);
//
// Who wants no boxes keeps handles: create(...).release(), and later destroy(handle).
//
// Thread safety: one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_OBJECT_POOL_HPP
#define METE_OBJECT_POOL_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/construct.hpp>
#include <mete/detail/slabs.hpp>
#include <mete/source.hpp>

namespace mete {

template <class T>
class object_pool;

// Owns an object of an object_pool, or none. The size of a pointer. Must not outlive the pool.
template <class T>
class [[nodiscard]] box {
public:
  constexpr box() noexcept = default;
  // Owns what another box has released.
  constexpr explicit box(T* object) noexcept : object_(object) {}
  constexpr box(box&& other) noexcept : object_(other.release()) {}
  constexpr box& operator=(box&& other) noexcept {
    reset(other.release());
    return *this;
  }
  constexpr ~box() { reset(); }

  constexpr T* get() const noexcept { return object_; }
  constexpr T& operator*() const noexcept { return *object_; }
  constexpr T* operator->() const noexcept { return object_; }
  constexpr explicit operator bool() const noexcept { return object_ != nullptr; }

  // Owns nothing any more; somebody else must destroy the object, or the pool does at its end.
  [[nodiscard]] constexpr T* release() noexcept { return std::exchange(object_, nullptr); }

  // Destroys what it owns.
  constexpr void reset(T* next = nullptr) noexcept {
    T* const before = std::exchange(object_, next);
    if (before != nullptr)
      object_pool<T>::pool_of(*before).destroy(before);
  }

private:
  T* object_ = nullptr;
};

struct object_pool_options {
  const char* name = "object_pool";
  source* upstream = nullptr;                    // nullptr: default_source()
  std::size_t max_empty_bytes = 4 * 1024 * 1024; // of empty slabs; more go back at once
};

namespace detail {

template <class T>
struct object_geometry {
  static constexpr slab_geometry value =
      slab_geometry::of(sizeof(T), alignof(T), 0,
                        {.for_slab = sizeof(std::uint32_t), .for_block = sizeof(std::uint32_t)});
  static_assert(value.capacity != 0, "such objects are too large for a pool");
};

} // namespace detail

template <class T>
class object_pool : private allocator_base<object_pool<T>>,
                    private detail::slabs<object_pool<T>, detail::object_geometry<T>> {
  using base = allocator_base<object_pool>;
  using slabs = detail::slabs<object_pool, detail::object_geometry<T>>;
  friend base;
  friend slabs;
  friend box<T>;

public:
  using options = object_pool_options;

  // Names an object, or one that has gone. As created, it names none. A place in memory is taken
  // for another object's only after 2^31 objects have lived there.
  struct handle {
    std::uint32_t index = 0;
    std::uint32_t generation = 0;

    friend bool operator==(const handle&, const handle&) = default;
  };

  // Acquires nothing yet.
  explicit object_pool(const options& with = {}) noexcept
      : base(with.name), slabs(with.upstream, with.max_empty_bytes, {}) {}

  // Destroys what is left, in no particular order. O(slabs and objects).
  ~object_pool() {
    ending_ = true;
    this->keep_all_slabs();
    for_each([this](T& left) { destroy(&left); });
    slabs::release_all();
    release_entries();
  }

  using base::name;

  // O(1), but for the source and the constructor. Throws mete::out_of_memory, and what the
  // constructor throws.
  template <class... Arguments>
  box<T> create(Arguments&&... arguments) {
    void* const memory = slabs::take();
    if (memory == nullptr) [[unlikely]]
      this->report_exhaustion(sizeof(T), alignof(T));
    return box<T>(construct(memory, std::forward<Arguments>(arguments)...));
  }

  // The same, but an empty box if there is no memory.
  template <class... Arguments>
  box<T>
  try_create(Arguments&&... arguments) noexcept(std::is_nothrow_constructible_v<T, Arguments...>) {
    void* const memory = slabs::take();
    if (memory == nullptr) [[unlikely]]
      return {};
    return box<T>(construct(memory, std::forward<Arguments>(arguments)...));
  }

  // Destroys the object. O(1) and the destructor. Misuse is reported: an object that does not live,
  // an address at which no object begins, or that is not of this pool.
  void destroy(T* object) noexcept {
    const place at = slabs::find(object);
    std::uint32_t& generation = generation_of(at);
    if (!lives(generation)) [[unlikely]]
      return destroy_dead(object);
    ++generation; // first: the destructor may ask for the handle
    std::destroy_at(object);
    detail::unusable(object, sizeof(T));
    slabs::give_back(at, object);
  }
  // False if it has gone.
  bool destroy(handle of) noexcept {
    T* const object = get(of);
    if (object == nullptr)
      return false;
    destroy(object);
    return true;
  }

  // REQUIRES: the object lives, in this pool. O(1).
  [[nodiscard]] handle handle_of(const T& object) const noexcept {
    const place at = slabs::place_of(&object);
    return {number_of(*at.in) << place_bits | at.number, generation_of(at)};
  }

  // The object, or nullptr if it has gone. O(1).
  [[nodiscard]] T* get(handle of) noexcept {
    return const_cast<T*>(static_cast<const object_pool*>(this)->get(of));
  }
  [[nodiscard]] const T* get(handle of) const noexcept {
    const std::uint32_t number = of.index >> place_bits;
    const std::uint32_t in_slab = of.index & ((std::uint32_t{1} << place_bits) - 1);
    if (number >= entry_count_ || entries_[number].in == nullptr || in_slab >= geometry.capacity)
      return nullptr;
    const place at{entries_[number].in, in_slab};
    return generation_of(at) == of.generation && lives(of.generation) ? object_at(at) : nullptr;
  }

  // Calls visit(object) for each that lives, slab by slab. It may destroy any object, and create
  // some, which may be visited or not. O(slabs and the objects that they have room for).
  template <class Visit>
  void for_each(Visit visit) {
    for_each_of(*this, [&](T* object) { visit(*object); });
  }
  template <class Visit>
  void for_each(Visit visit) const {
    for_each_of(*this, [&](const T* object) { visit(*object); });
  }

  // Destroys those of which `condition(object)` is true, and returns how many. As for_each().
  template <class Condition>
  std::size_t erase_if(Condition condition) {
    std::size_t erased = 0;
    for_each([&](T& object) {
      if (condition(std::as_const(object))) {
        destroy(&object);
        ++erased;
      }
    });
    return erased;
  }
  // Destroys all. Boxes of them must have been released; handles become stale. As for_each().
  void clear() noexcept {
    for_each([this](T& object) { destroy(&object); });
  }

  // How many objects live. O(1).
  [[nodiscard]] std::size_t size() const noexcept { return slabs::live_blocks(); }

  // Whether the address is that of an object, or of room for one. O(1).
  [[nodiscard]] bool owns(const T* object) const noexcept { return slabs::owns(object); }

  // Gives the empty slabs back. O(such slabs). Handles to what was in them stay stale.
  using slabs::trim;

  // What is wrong inside, or nullptr. O(slabs).
  [[nodiscard]] const char* check_invariants() const noexcept {
    std::size_t living = 0;
    for_each([&](const T& object) { living += get(handle_of(object)) == &object; });
    return living == size() ? slabs::check_invariants() : "a living object is not to be found";
  }

  // O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {slabs::used_bytes(), slabs::reserved_bytes() + entries_memory_.size(),
            slabs::peak_bytes(), 0};
  }

private:
  using place = typename slabs::place;
  static constexpr const detail::slab_geometry& geometry = detail::object_geometry<T>::value;
  static constexpr int place_bits = std::bit_width(geometry.capacity - 1);
  static constexpr std::size_t max_slabs = std::size_t{1} << (32 - place_bits);

  // What is known of the slab with a number, and stays known when the slab has gone.
  struct entry {
    detail::slab* in;
    std::uint32_t first_generation; // of the next slab with this number
    std::uint32_t next_vacant;      // of an entry without a slab
  };
  static constexpr std::uint32_t no_entry = UINT32_MAX;

  // In front of a slab's blocks: its number, and the generation of each of its places.
  static std::uint32_t* extra(const detail::slab& of) noexcept {
    return reinterpret_cast<std::uint32_t*>(
        reinterpret_cast<std::byte*>(const_cast<detail::slab*>(&of)) + geometry.extra_at);
  }
  static std::uint32_t& number_of(const detail::slab& of) noexcept { return extra(of)[0]; }
  static std::uint32_t& generation_of(const place& at) noexcept {
    return extra(*at.in)[1 + at.number];
  }
  static bool lives(std::uint32_t generation) noexcept { return generation % 2 != 0; }

  T* object_at(const place& at) const noexcept {
    return std::launder(reinterpret_cast<T*>(slabs::block_at(*at.in, at.number)));
  }

  static object_pool& pool_of(const T& object) noexcept {
    return static_cast<object_pool&>(slabs::owner_of(&object));
  }

  template <class... Arguments>
  T* construct(void* memory, Arguments&&... arguments) {
    struct unless_constructed {
      object_pool& pool;
      void* memory;
      place at;
      ~unless_constructed() {
        if (memory == nullptr)
          return;
        detail::unusable(memory, sizeof(T));
        pool.give_back(at, memory);
      }
    } undo{*this, memory, slabs::place_of(memory)};
    detail::usable(memory, sizeof(T));
    T* const object = detail::construct<T>(memory, std::forward<Arguments>(arguments)...);
    undo.memory = nullptr;
    ++generation_of(undo.at);
    return object;
  }

  // At the pool's end an object may own another that has been destroyed before it.
  [[gnu::cold, gnu::noinline]] void destroy_dead(const T* object) noexcept {
    if (!ending_)
      this->report_misuse("double free", object, "no object lives there");
  }

  // Everything is read anew for each object: slabs come and go meanwhile.
  template <class Pool, class Visit>
  static void for_each_of(Pool& pool, Visit visit) {
    for (std::uint32_t number = 0; number < pool.entry_count_; ++number) {
      for (std::uint32_t in_slab = 0; in_slab < geometry.capacity; ++in_slab) {
        const place at{pool.entries_[number].in, in_slab};
        if (at.in == nullptr)
          break;
        if (lives(generation_of(at)))
          visit(pool.object_at(at));
      }
    }
  }

  bool slab_added(detail::slab& added) noexcept {
    if (vacant_ == no_entry && !add_entry())
      return false;
    entry& its = entries_[vacant_];
    number_of(added) = std::exchange(vacant_, its.next_vacant);
    its.in = &added;
    std::fill_n(extra(added) + 1, geometry.capacity, its.first_generation);
    return true;
  }

  // REQUIRES: no object lives in it.
  void slab_removed(detail::slab& gone) noexcept {
    entry& its = entries_[number_of(gone)];
    const std::uint32_t* const generations = extra(gone) + 1;
    its.first_generation = *std::max_element(generations, generations + geometry.capacity);
    its.in = nullptr;
    its.next_vacant = std::exchange(vacant_, number_of(gone));
  }

  bool add_entry() noexcept {
    if (entry_count_ == max_slabs || !reserve_entry())
      return false;
    vacant_ = entry_count_++;
    new (entries_ + vacant_) entry{nullptr, 0, no_entry};
    return true;
  }

  bool reserve_entry() noexcept {
    const std::size_t room = entries_memory_.size() / sizeof(entry);
    if (entry_count_ < room)
      return true;
    const std::span<std::byte> memory = this->upstream().acquire(
        std::max(2 * room, std::size_t{16}) * sizeof(entry), alignof(entry));
    if (memory.empty())
      return false;
    auto* const entries = reinterpret_cast<entry*>(memory.data());
    std::uninitialized_copy_n(entries_, entry_count_, entries);
    release_entries();
    entries_memory_ = memory;
    entries_ = entries;
    return true;
  }
  void release_entries() noexcept {
    if (!entries_memory_.empty())
      this->upstream().release(entries_memory_, alignof(entry));
  }

  // Invariants: entries_[number_of(slab)].in is the slab, for each; the other entries form a list
  // from vacant_. A generation is odd while an object lives at the place; it never becomes smaller,
  // not even when the slab goes and another has its number.
  entry* entries_ = nullptr;
  std::uint32_t entry_count_ = 0;
  std::uint32_t vacant_ = no_entry;
  bool ending_ = false;
  std::span<std::byte> entries_memory_; // of entries_
};

} // namespace mete

#endif
