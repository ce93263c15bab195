// Where the records of a ring lie, and whose they are: ring.hpp without the bytes.
//
// Basic design. Positions count granules and never wrap. At the begin of each record a word says
// how long it is and what has become of it. A record is in one piece: if it does not fit before the
// end, what is left there becomes a record that has nothing to read.
//
// One producer (L. Lamport, Specifying Concurrent Program Modules, 1983): the producer alone moves
// `tail`, the consumer alone moves `head`, and each keeps a copy of the other's, which it renews
// only when that copy says full, or empty. So the lines of the two are seldom exchanged; what only
// one of them uses is on lines that the other never reads; and the words lie in front of the bytes,
// on the same lines. The producer knows up to where it may write in one piece, so that one
// comparison says whether a record fits: only where it does not are the end of the buffer and the
// consumer looked at.
//
// Many producers: words lie beside the data, one for each granule; position modulo capacity is the
// place of both. A record is reserved by moving `tail` with compare_exchange, and committed by
// its word. All words that say nothing are 0, because the consumer clears each word that it has
// read before it gives the place back. So the consumer needs no tail, producers do not wait for
// each other, and records are read in the order of their reservation. (Reserving by one atomic,
// committing in any order: D. Vyukov, Bounded MPMC queue; M. Thompson et al., Disruptor, 2011;
// M. Rasiukevicius, ringbuf, 2016.)
//
// Skipping. A record that is reserved and not committed holds up what is behind it. The consumer
// may pass it over: it then reads on, but gives no place back, from that record on, before its
// producer has ended it. So nobody's memory is ever given to another. Words behind it that have
// been read say `done` until then.
//
// Everything is a template over the kind of memory it runs on, so that the tests explore every
// interleaving of this very code, with each memory order proved necessary there.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_RING_INDEX_HPP
#define METE_DETAIL_RING_INDEX_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <mete/detail/hardware_memory.hpp>

namespace mete::detail {

// Memory on which threads can sleep, too.
struct sleeping_memory : hardware_memory {
  static void wait(std::atomic<std::uint32_t>& on, std::uint32_t old) noexcept { on.wait(old); }
  static void notify_all(std::atomic<std::uint32_t>& on) noexcept { on.notify_all(); }
};

// A word: what it is in its low bits, and above them the bytes that can be read. 0: nothing is
// known of that place.
enum class record_is : std::uint32_t { unknown, busy, ready, done, passed };

// unknown -> busy -> ready or done -> unknown; busy -> passed -> done -> unknown
constexpr std::uint32_t record_word(record_is what, std::uint32_t bytes) noexcept {
  return bytes << 3 | static_cast<std::uint32_t>(what);
}
constexpr record_is what_is(std::uint32_t word) noexcept {
  return static_cast<record_is>(word & 7);
}
constexpr std::uint32_t bytes_of(std::uint32_t word) noexcept {
  return word >> 3;
}

inline constexpr std::uint32_t ring_granule = 16;
inline constexpr std::uint32_t max_ring_granules = std::uint32_t{1} << 25; // 512 MiB: bytes fit

// A record of 0 bytes has a place too.
constexpr std::uint32_t granules_for(std::uint32_t bytes) noexcept {
  return (bytes + (bytes == 0) + ring_granule - 1) / ring_granule;
}

// A place for a record. No granules: there is none.
struct ring_place {
  std::uint64_t position = 0;
  std::uint32_t granules = 0;
};

// The consumer's answer. Not ready: nothing to read now.
struct ring_record {
  bool ready = false;
  std::uint32_t offset = 0; // in granules
  std::uint32_t bytes = 0;
};

// Cuts a request to where it fits: the granules before the end that must be left out, or 0.
constexpr std::uint32_t left_before_end(std::uint64_t position, std::uint32_t granules,
                                        std::uint32_t capacity) noexcept {
  const std::uint32_t left = capacity - (static_cast<std::uint32_t>(position) & (capacity - 1));
  return granules > left ? left : 0;
}

// Both have REQUIRES: front() and pop() are called by one thread at a time.

// Of granules: `capacity` is what the records that are in it may have in all, `places` what there
// is room for. A granule at the end is never a record's, so that one that leaves out the end is
// seen there. REQUIRES: places >= capacity + 2; a request has at most capacity / 2 + 1: then each
// fits, wherever an empty ring is.
template <class Memory>
class one_producer_index {
public:
  using word = typename Memory::template plain<std::uint32_t>;
  // A granule's word is the first of `word_stride`; it begins with these bytes.
  static constexpr std::uint32_t word_stride = ring_granule / sizeof(std::uint32_t);
  static constexpr std::uint32_t header_bytes = 8;

  one_producer_index(word* words, std::uint32_t capacity, std::uint32_t places) noexcept
      : words_(words), capacity_(capacity), places_(places) {}

  static constexpr std::uint32_t granules_for(std::uint32_t bytes) noexcept {
    return (header_bytes + bytes + ring_granule - 1) / ring_granule;
  }

  // REQUIRES: one thread at a time calls reserve(), commit() and cancel().
  ring_place reserve(std::uint32_t granules) noexcept {
    if (written_ + granules > room_end_ && !make_room(granules)) [[unlikely]]
      return {};
    return {written_ - lap_, granules};
  }
  // Where the next word is written, perhaps of what is left out.
  std::uint64_t write_offset() const noexcept { return written_ - lap_; }
  static std::uint64_t offset_of(ring_place place) noexcept { return place.position; }

  // Nothing has been shown to anybody yet: what is not needed is free again.
  bool commit(ring_place place, std::uint32_t bytes) noexcept {
    const std::uint64_t next = written_ + granules_for(bytes);
    word_at(place.position) = record_word(record_is::ready, bytes);
    written_ = next;
    // release: the consumer that sees the tail sees the words and the bytes before it.
    tail_.store(next, std::memory_order_release);
    return true;
  }
  void cancel(ring_place) noexcept {}

  ring_record front() noexcept {
    if (read_ == tail_seen_) {
      // acquire: the words and the bytes were written before.
      tail_seen_ = tail_.load(std::memory_order_acquire);
      if (read_ == tail_seen_)
        return {};
    }
    std::uint32_t found = word_at(read_ - read_lap_);
    if (what_is(found) != record_is::ready) [[unlikely]]
      found = pass_end(found);
    return {true, static_cast<std::uint32_t>(read_ - read_lap_), bytes_of(found)};
  }
  // REQUIRES: of the record that front() has returned.
  void pop(std::uint32_t bytes) noexcept {
    const std::uint64_t next = read_ + granules_for(bytes);
    read_ = next;
    // release: the bytes have been read.
    head_.store(next, std::memory_order_release);
  }

  std::uint32_t capacity() const noexcept { return capacity_; }
  // Of any thread; both may be old. What is left out at the end may be counted.
  std::uint64_t used() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    return std::min<std::uint64_t>(tail_.load(std::memory_order_relaxed) - head, capacity_);
  }

private:
  word& word_at(std::uint64_t offset) const noexcept { return words_[offset * word_stride]; }

  // What is left before the end is passed over for good: whatever comes next begins behind it, and
  // what is published next publishes both.
  [[gnu::noinline]] bool make_room(std::uint32_t granules) noexcept {
    // acquire: what the consumer did with the bytes is over.
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    const std::uint64_t left = lap_ + places_ - written_;
    const bool wraps = granules >= left;
    const std::uint64_t begin = written_ + (wraps ? left : 0);
    // What was left out is no part of the capacity.
    std::uint64_t left_out = begin - written_;
    if (head < lap_)
      left_out += left_out_;
    const std::uint64_t room_end = head + std::min<std::uint64_t>(places_, capacity_ + left_out);
    if (begin + granules > room_end)
      return false;
    if (wraps) {
      word_at(written_ - lap_) =
          record_word(record_is::done, static_cast<std::uint32_t>(left) * ring_granule);
      left_out_ = left;
      lap_ = begin;
      written_ = begin;
    }
    room_end_ = std::min(room_end, lap_ + places_ - 1);
    return true;
  }

  // Goes on to the record behind what was left out before the end, and returns its word: both were
  // published at once.
  [[gnu::noinline]] std::uint32_t pass_end(std::uint32_t left_out) noexcept {
    read_ = read_ + bytes_of(left_out) / ring_granule;
    read_lap_ = static_cast<std::uint64_t>(read_);
    return word_at(0);
  }

  template <class T>
  using atomic = typename Memory::template atomic<T>;
  template <class T>
  using plain = typename Memory::template plain<T>;

  // Invariants: head_ <= tail_ <= written_ <= room_end_ <= head_ + places; between head_ and
  // written_ the records have at most `capacity`; written_ and room_end_ lie between lap_ and
  // lap_ + places; tail_seen_ <= tail_; head_ <= read_ <= tail_; read_lap_ <= read_.
  word* const words_;
  const std::uint32_t capacity_;
  const std::uint32_t places_;
  alignas(64) atomic<std::uint64_t> tail_{0};   // written by the producer
  alignas(64) plain<std::uint64_t> written_{0}; // the producer's own
  plain<std::uint64_t> room_end_{0};
  plain<std::uint64_t> lap_{0};               // position of the buffer's begin
  plain<std::uint64_t> left_out_{0};          // right before lap_
  alignas(64) atomic<std::uint64_t> head_{0}; // written by the consumer
  alignas(64) plain<std::uint64_t> read_{0};  // the consumer's own
  plain<std::uint64_t> tail_seen_{0};
  plain<std::uint64_t> read_lap_{0};
};

// REQUIRES: the capacity is a power of two, `words` has as many, all 0; a request has at most half
// of them.
template <class Memory>
class many_producers_index {
public:
  using word = typename Memory::template atomic<std::uint32_t>;
  many_producers_index(word* words, std::uint32_t capacity, bool may_pass) noexcept
      : words_(words), capacity_(capacity), may_pass_(may_pass) {}

  static constexpr std::uint32_t granules_for(std::uint32_t bytes) noexcept {
    return detail::granules_for(bytes);
  }
  std::uint64_t offset_of(ring_place place) const noexcept { return at(place.position); }

  // Any thread. Lock-free.
  ring_place reserve(std::uint32_t granules) noexcept {
    std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint32_t left = left_before_end(tail, granules, capacity_);
      const std::uint64_t begin = tail + left;
      if (!has_room(begin + granules)) {
        // An old tail may be behind the head by more than a lap.
        const std::uint64_t now = tail_.load(std::memory_order_relaxed);
        if (now == tail)
          return {};
        tail = now;
        continue;
      }
      // relaxed: the place is ours by head_, and shown to others by its word only.
      if (!tail_.compare_exchange_weak(tail, begin + granules, std::memory_order_relaxed,
                                       std::memory_order_relaxed))
        continue;
      // relaxed: of these the consumer wants the length alone.
      if (left != 0)
        words_[at(tail)].store(record_word(record_is::done, left * ring_granule),
                               std::memory_order_relaxed);
      words_[at(begin)].store(record_word(record_is::busy, granules * ring_granule),
                              std::memory_order_relaxed);
      return {begin, granules};
    }
  }

  // By whoever has reserved it. False: the consumer has passed it over.
  bool commit(ring_place place, std::uint32_t bytes) noexcept {
    const std::uint32_t needed = granules_for(bytes);
    if (needed == place.granules)
      return end(place, record_word(record_is::ready, bytes)) || give_up(place);
    return commit_less(place, bytes, needed);
  }
  void cancel(ring_place place) noexcept {
    if (!end(place, record_word(record_is::done, place.granules * ring_granule)))
      give_up(place);
  }

  ring_record front() noexcept {
    for (;;) {
      if (freed_ != read_) [[unlikely]] {
        free_ended();
        if (read_ - freed_ == capacity_)
          return {}; // once round: the word there is that of the record that was passed over
      }
      // acquire: the bytes were written before.
      const std::uint32_t found = words_[at(read_)].load(std::memory_order_acquire);
      if (what_is(found) == record_is::ready) [[likely]]
        return {true, at(read_), bytes_of(found)};
      if (what_is(found) != record_is::done)
        return {};
      pop(bytes_of(found));
    }
  }
  // REQUIRES: of the record that front() has returned.
  void pop(std::uint32_t bytes) noexcept {
    const std::uint64_t begin = read_;
    read_ = begin + granules_for(bytes);
    if (begin != freed_) [[unlikely]] {
      words_[at(begin)].store(record_word(record_is::done, bytes), std::memory_order_relaxed);
      return free_ended();
    }
    words_[at(begin)].store(0, std::memory_order_relaxed);
    freed_ = static_cast<std::uint64_t>(read_);
    // release: the word is 0 and the bytes have been read before anybody can reserve the place.
    head_.store(freed_, std::memory_order_release);
  }

  // Passes over the record that front() stopped at, if it is reserved and not committed, and
  // something has been reserved behind it. By the consumer. REQUIRES: made with may_pass.
  bool pass() noexcept {
    word& its = words_[at(read_)];
    std::uint32_t found = its.load(std::memory_order_relaxed);
    const std::uint64_t next = read_ + granules_for(bytes_of(found));
    // relaxed: nothing was read. From now on its producer's end() leaves it `done`.
    if (what_is(found) != record_is::busy || tail_.load(std::memory_order_relaxed) == next ||
        !its.compare_exchange_strong(found, record_word(record_is::passed, bytes_of(found)),
                                     std::memory_order_relaxed, std::memory_order_relaxed))
      return false;
    read_ = next;
    return true;
  }

  // Whether something is reserved where front() stopped: by the consumer.
  bool is_held_up() const noexcept {
    return tail_.load(std::memory_order_relaxed) != read_ &&
           what_is(words_[at(read_)].load(std::memory_order_relaxed)) != record_is::ready;
  }
  // Its bytes, rounded; 0: its producer has not come to say it.
  std::uint32_t held_up_bytes() const noexcept {
    return bytes_of(words_[at(read_)].load(std::memory_order_relaxed));
  }
  std::uint64_t position() const noexcept { return read_; } // the consumer's
  std::uint64_t freed() const noexcept { return freed_; }   //

  std::uint32_t capacity() const noexcept { return capacity_; }
  // Of any thread; both may be old.
  std::uint64_t used() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    return tail_.load(std::memory_order_relaxed) - head;
  }

private:
  std::uint32_t at(std::uint64_t position) const noexcept {
    return static_cast<std::uint32_t>(position) & (capacity_ - 1);
  }

  // Gives back what has been read behind records that were passed over and have ended since.
  [[gnu::noinline]] void free_ended() noexcept {
    while (freed_ != read_) {
      // acquire: its producer's writes are over before the place is another's.
      const std::uint32_t found = words_[at(freed_)].load(std::memory_order_acquire);
      if (what_is(found) != record_is::done)
        break;
      words_[at(freed_)].store(0, std::memory_order_relaxed);
      freed_ = freed_ + granules_for(bytes_of(found));
    }
    head_.store(freed_, std::memory_order_release);
  }

  // Whether a record may end there. Signed: an old tail may be behind the head.
  bool has_room(std::uint64_t end) noexcept {
    // acquire, here and below: what the consumer did with the place is over. Whoever has it from
    // head_seen_ has it from a producer that had it from head_.
    if (fits(end, head_seen_.load(std::memory_order_acquire)))
      return true;
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    head_seen_.store(head, std::memory_order_release);
    return fits(end, head);
  }
  bool fits(std::uint64_t end, std::uint64_t head) const noexcept {
    return static_cast<std::int64_t>(end - head) <= static_cast<std::int64_t>(capacity_);
  }

  // What is not needed becomes a record of its own, before the consumer can come there.
  [[gnu::noinline]] bool commit_less(ring_place place, std::uint32_t bytes,
                                     std::uint32_t needed) noexcept {
    word& rest = words_[at(place.position + needed)];
    rest.store(record_word(record_is::done, (place.granules - needed) * ring_granule),
               std::memory_order_relaxed);
    if (end(place, record_word(record_is::ready, bytes)))
      return true;
    rest.store(0, std::memory_order_relaxed);
    return give_up(place);
  }

  // False: it was passed over.
  bool end(ring_place place, std::uint32_t word_then) noexcept {
    word& its = words_[at(place.position)];
    // release, here and below: the bytes were written before.
    if (!may_pass_) {
      its.store(word_then, std::memory_order_release);
      return true;
    }
    std::uint32_t busy = record_word(record_is::busy, place.granules * ring_granule);
    return its.compare_exchange_strong(busy, word_then, std::memory_order_release,
                                       std::memory_order_relaxed);
  }
  bool give_up(ring_place place) noexcept {
    words_[at(place.position)].store(record_word(record_is::done, place.granules * ring_granule),
                                     std::memory_order_release);
    return false;
  }

  template <class T>
  using atomic = typename Memory::template atomic<T>;
  template <class T>
  using plain = typename Memory::template plain<T>;

  // Invariants: freed_ == head_ <= read_ <= tail_ <= head_ + capacity. All words are 0 but for the
  // first of each record between head_ and tail_. freed_ != read_ only while the record at freed_
  // was passed over and has not ended. head_seen_ was head_ once.
  word* const words_;
  const std::uint32_t capacity_;
  const bool may_pass_;
  alignas(64) atomic<std::uint64_t> tail_{0}; // the producers'
  atomic<std::uint64_t> head_seen_{0};
  alignas(64) atomic<std::uint64_t> head_{0}; // the consumer's
  plain<std::uint64_t> read_{0};
  plain<std::uint64_t> freed_{0};
};

// Sleeping until something has changed, with no cost beyond one atomic for who changes it while
// nobody sleeps (D. Vyukov's event count).
template <class Memory>
class event {
public:
  // Returns once try_now() holds. What it looks at must be changed before a notify().
  template <class Try>
  void wait_until(Try try_now) noexcept {
    while (!try_now()) {
      const std::uint32_t before = epoch_.load(std::memory_order_acquire);
      // acquire: either notify() comes after this in the order of sleepers_, and sees the sleeper,
      // or before, and then what was changed is seen now. release: the reverse.
      sleepers_.fetch_add(1, std::memory_order_acq_rel);
      const bool now = try_now();
      if (!now)
        Memory::wait(epoch_, before);
      sleepers_.fetch_add(~std::uint32_t{0}, std::memory_order_relaxed);
      if (now)
        return;
    }
  }

  void notify() noexcept {
    if (sleepers_.fetch_add(0, std::memory_order_acq_rel) == 0) [[likely]]
      return;
    epoch_.fetch_add(1, std::memory_order_release);
    Memory::notify_all(epoch_);
  }

private:
  typename Memory::template atomic<std::uint32_t> epoch_{0};
  typename Memory::template atomic<std::uint32_t> sleepers_{0};
};

} // namespace mete::detail

#endif
