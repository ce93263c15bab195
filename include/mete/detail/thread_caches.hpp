// A cache of each thread for each of many owners, such as the magazines that a thread keeps of a
// shared_pool, and their end, whichever ends first: the thread or the owner.
//
// Basic design. An owner has a small number, which is given again when it has gone, and a serial,
// which is not. A thread has a table by number; an entry whose serial is not the owner's is of one
// that has gone, and means nothing. So owners go without a visit to the threads, and tables are
// never longer than the most owners that there were at a time. What was used last lies in the
// thread's static storage, where one comparison finds it. At its end a thread looks up, under a
// lock of the whole process, which owners of its table still are, and tells them.
//
// Afterwards the thread has no caches: destructors of other thread_local variables may still use
// an owner, which then must do without.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_THREAD_CACHES_HPP
#define METE_DETAIL_THREAD_CACHES_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

namespace mete::detail {

class cache_owner;

// A thread's entry. Of no owner if serial is 0.
struct thread_entry {
  std::uint64_t serial;
  void* cache;
};

// All that a thread has; trivial, so that looking needs no guard.
struct thread_entries {
  static constexpr std::size_t recent_count = 8;
  thread_entry recent[recent_count]; // copies of entries of the table, by number
  thread_entry* table;               // by number
  std::size_t room;
  bool ended;
};
inline constinit thread_local thread_entries this_thread_entries = {};

// The owners of the process. Never destroyed: threads may end later than everything else.
class cache_owners {
public:
  static constexpr std::size_t no_number = SIZE_MAX;
  struct ticket {
    std::size_t number; // no_number: there was no memory
    std::uint64_t serial;
  };

  static cache_owners& all() noexcept {
    alignas(cache_owners) static std::byte storage[sizeof(cache_owners)];
    static cache_owners* const only = new (storage) cache_owners;
    return *only;
  }

  // O(1), but for the table's doubling.
  ticket enter(cache_owner& added) noexcept {
    const std::lock_guard locked(mutex_);
    const std::uint64_t serial = ++last_serial_;
    if (first_free_ == no_number && !grow())
      return {no_number, serial};
    const std::size_t number = first_free_;
    first_free_ = places_[number].next_free;
    places_[number] = {&added, serial, no_number};
    return {number, serial};
  }
  // Waits for a thread that tells the owner its end at the moment.
  void leave(ticket gone) noexcept {
    if (gone.number == no_number)
      return;
    const std::lock_guard locked(mutex_);
    places_[gone.number] = {nullptr, 0, first_free_};
    first_free_ = gone.number;
  }

  // REQUIRES: the table of a thread that ends.
  void tell_end(const thread_entry* table, std::size_t room) noexcept;

private:
  struct place {
    cache_owner* owner;
    std::uint64_t serial;
    std::size_t next_free;
  };

  bool grow() noexcept {
    const std::size_t room = std::max(2 * room_, std::size_t{16});
    auto* const places = static_cast<place*>(std::realloc(places_, room * sizeof(place)));
    if (places == nullptr)
      return false;
    for (std::size_t number = room; number-- != room_;) {
      places[number] = {nullptr, 0, first_free_};
      first_free_ = number;
    }
    places_ = places;
    room_ = room;
    return true;
  }

  std::mutex mutex_;
  std::uint64_t last_serial_ = 0;
  place* places_ = nullptr;
  std::size_t room_ = 0;
  std::size_t first_free_ = no_number;
};

// The base of an owner. Lock order: the lock of cache_owners comes before any that thread_ended()
// takes.
class cache_owner {
public:
  cache_owner(const cache_owner&) = delete;
  cache_owner& operator=(const cache_owner&) = delete;

protected:
  cache_owner() noexcept : ticket_(cache_owners::all().enter(*this)) {}
  // REQUIRES: leave_threads() was called.
  virtual ~cache_owner() = default;

  // From now on no thread tells its end. For the begin of the destructor of what derives from this.
  void leave_threads() noexcept { cache_owners::all().leave(ticket_); }

  // What this thread has set, if it was used of late; else nullptr. For hot paths.
  void* recent_cache() const noexcept {
    const thread_entry& recent = recent_entry();
    return recent.serial == ticket_.serial ? recent.cache : nullptr;
  }

  // What this thread has set, or nullptr. O(1).
  void* find_cache() const noexcept {
    const thread_entries& mine = this_thread_entries;
    if (ticket_.number >= mine.room || mine.table[ticket_.number].serial != ticket_.serial)
      return nullptr;
    recent_entry() = mine.table[ticket_.number];
    return recent_entry().cache;
  }

  // Makes room for set_cache(). False: there is no memory, or the thread is at its end.
  [[nodiscard]] bool reserve_cache() const noexcept {
    thread_entries& mine = this_thread_entries;
    if (mine.ended || ticket_.number == cache_owners::no_number)
      return false;
    if (ticket_.number < mine.room)
      return true;
    const std::size_t room = std::max(2 * mine.room, ticket_.number + 1);
    auto* const table =
        static_cast<thread_entry*>(std::realloc(mine.table, room * sizeof(thread_entry)));
    if (table == nullptr)
      return false;
    std::fill(table + mine.room, table + room, thread_entry{});
    mine.table = table;
    mine.room = room;
    watch_thread();
    return true;
  }
  // REQUIRES: reserve_cache() was called by this thread.
  void set_cache(void* cache) const noexcept {
    this_thread_entries.table[ticket_.number] = {ticket_.serial, cache};
    recent_entry() = this_thread_entries.table[ticket_.number];
  }

private:
  friend cache_owners;

  struct thread_watch {
    ~thread_watch() {
      thread_entries& mine = this_thread_entries;
      mine.ended = true;
      std::fill(mine.recent, mine.recent + thread_entries::recent_count, thread_entry{});
      cache_owners::all().tell_end(mine.table, mine.room);
      std::free(mine.table);
      mine.table = nullptr;
      mine.room = 0;
    }
  };
  static void watch_thread() noexcept { static thread_local const thread_watch watch; }

  // A thread that had set this cache ends; called by that thread.
  virtual void thread_ended(void* cache) noexcept = 0;

  thread_entry& recent_entry() const noexcept {
    return this_thread_entries.recent[ticket_.number % thread_entries::recent_count];
  }

  const cache_owners::ticket ticket_;
};

inline void cache_owners::tell_end(const thread_entry* table, std::size_t room) noexcept {
  const std::lock_guard locked(mutex_);
  for (std::size_t number = 0; number < std::min(room, room_); ++number)
    if (table[number].serial != 0 && table[number].serial == places_[number].serial)
      places_[number].owner->thread_ended(table[number].cache);
}

} // namespace mete::detail

#endif
