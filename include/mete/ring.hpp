// ring: records of any size, first in, first out, from one producer or many to one consumer: logs,
// packets, messages.
//
// Basic design. A producer reserves bytes in a buffer that is used round and round, writes them
// where they lie, and commits; the consumer reads them where they lie, in the order in which they
// were reserved. Nothing is copied, nothing is overwritten before it has been read, and a record is
// always in one piece. What the threads share is in detail/ring_index.hpp, with its sources.
//
//   mete::ring<mete::producers::many> log({.name = "log", .capacity_bytes = 1 << 20});
//   if (auto line = log.try_reserve(64)) {          // by any thread; false: it is full
//     const int length = std::snprintf(reinterpret_cast<char*>(line.bytes().data()), 64, ...);
//     line.commit(length);                          // or it is taken back when it ends
//   }
//   while (auto record = log.try_read())            // by one thread
//     write(1, record.bytes().data(), record.bytes().size());
//
// A producer that reserves and does not commit holds up what was reserved after it (with one
// producer, nothing can have been). What the consumer does then is a matter of
// options: wait, skip the record after some time, or tell somebody. A record that was skipped is
// lost, and its place is not used before its producer has ended it.
//
// Records begin at multiples of 16 bytes. With one producer they have 8 bytes in front of them,
// with many 4 bytes for each 16 beside them. None may be larger than max_record_bytes(), half of
// the capacity: so whatever may be reserved fits sooner or later.
//
// Thread safety: one consumer at a time; one producer at a time or any number, as its type says.
//
// SPDX-License-Identifier: MIT
#ifndef METE_RING_HPP
#define METE_RING_HPP

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <thread>
#include <type_traits>
#include <utility>

#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/hardware_memory.hpp>
#include <mete/detail/ring_index.hpp>
#include <mete/error.hpp>
#include <mete/source.hpp>

namespace mete {

enum class producers { one, many };

// What the consumer does about a record that is reserved, not committed, and in the way.
enum class stalled_producer {
  wait, // as long as it takes
  skip, // for stall_limit, then goes on without the record, which is lost
  tell, // for stall_limit, then calls tell_stall, once for each such record, and waits
};

// A record that is in the way. `bytes` is what its place has, or 0 if its producer has been stopped
// between the two instructions that reserve it: then it cannot be skipped.
struct ring_stall {
  std::size_t bytes;
  std::chrono::nanoseconds waited; // since the consumer met it
};

struct ring_options {
  const char* name = "ring";
  source* upstream = nullptr;         // nullptr: default_source()
  std::span<std::byte> buffer = {};   // used instead, and all that is used, if it is not empty
  std::size_t capacity_bytes = 65536; // rounded up to a power of two; acquired at once
  bool blocking = false;              // reserve() and read() are used; costs an atomic a record
  stalled_producer on_stall = stalled_producer::wait;
  std::chrono::nanoseconds stall_limit = std::chrono::milliseconds(100);
  void (*tell_stall)(const ring_stall&, void* context) = nullptr;
  void* context = nullptr; // for tell_stall
};

template <producers Producers>
class ring {
  static constexpr bool has_many = Producers == producers::many;
  using index_type =
      std::conditional_t<has_many, detail::many_producers_index<detail::hardware_memory>,
                         detail::one_producer_index<detail::hardware_memory>>;
  using word = typename index_type::word;

public:
  using options = ring_options;

  // A record that is being written. Ends by commit() or abort(); its destructor aborts.
  class [[nodiscard]] reservation {
  public:
    reservation() = default;
    reservation(reservation&& other) noexcept
        : ring_(std::exchange(other.ring_, nullptr)), place_(other.place_), bytes_(other.bytes_) {}
    reservation& operator=(reservation&& other) noexcept {
      if (this != &other) {
        abort();
        ring_ = std::exchange(other.ring_, nullptr);
        place_ = other.place_;
        bytes_ = other.bytes_;
      }
      return *this;
    }
    ~reservation() { abort(); }

    // Whether there is one.
    explicit operator bool() const noexcept { return ring_ != nullptr; }
    // Empty if there is none, or when it has ended.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
      if (ring_ == nullptr)
        return {};
      return {ring_->data_at(place_), bytes_};
    }
    // Hands it to the consumer, in all or only its first bytes. False if the consumer has skipped
    // it, or if there is none. O(1).
    bool commit() noexcept { return commit(bytes_); }
    bool commit(std::size_t bytes) noexcept {
      ring* const in = std::exchange(ring_, nullptr);
      return in != nullptr && in->commit(place_, bytes_, bytes);
    }
    // Takes it back: the consumer never sees it. O(1).
    void abort() noexcept {
      if (ring* const in = std::exchange(ring_, nullptr); in != nullptr) [[unlikely]]
        in->cancel(place_);
    }

  private:
    friend ring;
    reservation(ring& in, detail::ring_place place, std::uint32_t bytes) noexcept
        : ring_(&in), place_(place), bytes_(bytes) {}

    ring* ring_ = nullptr;
    detail::ring_place place_ = {};
    std::uint32_t bytes_ = 0;
  };

  // A record that is being read. When it ends, its place is free again.
  class [[nodiscard]] record {
  public:
    record() = default;
    record(record&& other) noexcept
        : ring_(std::exchange(other.ring_, nullptr)), bytes_(other.bytes_) {}
    record& operator=(record&& other) noexcept {
      if (this != &other) {
        release();
        ring_ = std::exchange(other.ring_, nullptr);
        bytes_ = other.bytes_;
      }
      return *this;
    }
    ~record() { release(); }

    // Whether there is one.
    explicit operator bool() const noexcept { return ring_ != nullptr; }
    // Empty if there is none. It may be written to.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
      return ring_ != nullptr ? bytes_ : std::span<std::byte>{};
    }
    // Ends it. O(1).
    void release() noexcept {
      if (ring* const in = std::exchange(ring_, nullptr); in != nullptr)
        in->end_read(bytes_);
    }

  private:
    friend ring;
    record(ring& in, std::span<std::byte> bytes) noexcept : ring_(&in), bytes_(bytes) {}

    ring* ring_ = nullptr;
    std::span<std::byte> bytes_;
  };

  // Without memory, the ring has room for nothing: see capacity_bytes(). Of a buffer the largest
  // power of two is used that fits with 4 bytes for each 16; with one producer, with 40 bytes at
  // least. O(capacity).
  explicit ring(const options& with = {}) noexcept
      : with_(with), upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        acquired_(with.buffer.empty() ? acquire(upstream_, with.capacity_bytes)
                                      : std::span<std::byte>{}),
        memory_(usable_part(with.buffer.empty() ? acquired_ : with.buffer)),
        data_(memory_.data() + (memory_.empty() ? 0 : data_offset)),
        is_watched_(with.blocking || detail::annotating()),
        looks_twice_(has_many && (with.blocking || with.on_stall != stalled_producer::wait)),
        index_(make_index()) {
    detail::unusable(memory_.data(), poisonable_bytes());
  }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;
  // REQUIRES: no reservation and no record is left.
  ~ring() {
    if (!acquired_.empty())
      upstream_.release(acquired_, alignment);
    else
      detail::usable(memory_.data(), poisonable_bytes());
  }

  [[nodiscard]] const char* name() const noexcept { return with_.name; }

  // What the records that are in it may have in all, each rounded up to 16 bytes. 0: no memory.
  [[nodiscard]] std::size_t capacity_bytes() const noexcept {
    return std::size_t{index_.capacity()} * detail::ring_granule;
  }
  [[nodiscard]] std::size_t max_record_bytes() const noexcept { return capacity_bytes() / 2; }

  // What is reserved and not yet read, with what rounding and the end of the buffer cost. O(1), any
  // thread; exact while nobody writes or reads.
  [[nodiscard]] std::size_t used_bytes() const noexcept {
    return static_cast<std::size_t>(index_.used()) * detail::ring_granule;
  }
  // The memory that it has.
  [[nodiscard]] std::size_t reserved_bytes() const noexcept { return memory_.size(); }

  // For a producer. No reservation if there is no room now, or never. Lock-free; with one producer
  // wait-free. O(1). With one producer, one reservation at a time: another is reported as misuse.
  [[nodiscard]] reservation try_reserve(std::size_t bytes) noexcept {
    if (bytes > max_record_bytes()) [[unlikely]]
      return {};
    if constexpr (!has_many) {
      if (writing_) [[unlikely]]
        report_misuse("reservation", "the one before has not ended");
    }
    const auto size = static_cast<std::uint32_t>(bytes);
    if constexpr (!has_many) {
      if (is_watched_) [[unlikely]]
        own_header(index_.write_offset());
    }
    const detail::ring_place place = index_.reserve(index_type::granules_for(size));
    if (place.granules == 0) [[unlikely]]
      return {};
    if constexpr (!has_many)
      writing_ = true;
    if (is_watched_) [[unlikely]]
      open(place, bytes);
    return {*this, place, size};
  }

  // The same, but waits for room. No reservation only if there never is room for so much.
  // REQUIRES: options::blocking.
  [[nodiscard]] reservation reserve(std::size_t bytes) noexcept {
    check_blocking();
    if (bytes > max_record_bytes() || capacity_bytes() == 0)
      return {};
    reservation got;
    writable_.wait_until([&] {
      got = try_reserve(bytes);
      return static_cast<bool>(got);
    });
    return got;
  }

  // For the consumer: the oldest record, or none. One at a time: another is reported as misuse.
  // O(1), but for what has been aborted.
  [[nodiscard]] record try_read() noexcept {
    check_not_reading();
    if (looks_twice_) [[unlikely]]
      return try_read_slow();
    const detail::ring_record found = index_.front();
    if (!found.ready)
      return {};
    return begin_read(found);
  }

  // The same, but waits for one. REQUIRES: options::blocking.
  [[nodiscard]] record read() noexcept {
    check_blocking();
    check_not_reading();
    for (;;) {
      detail::ring_record found;
      readable_.wait_until([&] {
        found = look();
        return found.ready || must_watch();
      });
      if (found.ready)
        return begin_read(found);
      std::this_thread::sleep_for(std::clamp<std::chrono::nanoseconds>(
          with_.stall_limit / 4, std::chrono::microseconds(50), std::chrono::milliseconds(10)));
    }
  }

  // Calls use(std::span<std::byte>) for each record that is there, at most for `limit` of them, and
  // returns for how many. If it throws, that record counts as read.
  template <class Use>
  std::size_t consume(Use&& use, std::size_t limit = SIZE_MAX) {
    std::size_t count = 0;
    for (; count != limit; ++count) {
      const record next = try_read();
      if (!next)
        break;
      use(next.bytes());
    }
    return count;
  }

  // For the consumer: what is in its way, if something is. O(1).
  [[nodiscard]] std::optional<ring_stall> stalled() noexcept requires has_many {
    return find_stall();
  }
  // How many records were skipped. For the consumer.
  [[nodiscard]] std::size_t skipped_records() const noexcept { return skipped_; }

private:
  static constexpr std::size_t alignment = 64;
  static constexpr std::size_t granule_bytes = detail::ring_granule + sizeof(std::uint32_t);
  static constexpr std::size_t header_bytes = 8; // with one producer
  static constexpr std::size_t data_offset = has_many ? 0 : 16;

  // What it takes. With one producer: also two granules more than the capacity, and a header.
  static constexpr std::size_t bytes_for(std::size_t granules) noexcept {
    const std::size_t bytes = granules * granule_bytes;
    return has_many ? bytes : std::max(bytes, (granules + 2) * detail::ring_granule + header_bytes);
  }

  static std::span<std::byte> acquire(source& from, std::size_t capacity_bytes) noexcept {
    const std::size_t granules =
        capacity_bytes / detail::ring_granule + (capacity_bytes % detail::ring_granule != 0);
    if (capacity_bytes == 0 || granules > detail::max_ring_granules)
      return {};
    return from.acquire(bytes_for(std::max(std::bit_ceil(granules), std::size_t{2})), alignment);
  }

  // For as many granules as fit. Empty: too small to be of use.
  static std::span<std::byte> usable_part(std::span<std::byte> memory) noexcept {
    void* begin = memory.data();
    std::size_t bytes = memory.size();
    if (begin == nullptr || std::align(alignment, bytes_for(2), begin, bytes) == nullptr)
      return {};
    return {static_cast<std::byte*>(begin), bytes_for(granules_in(bytes))};
  }
  // REQUIRES: bytes >= bytes_for(2).
  static std::size_t granules_in(std::size_t bytes) noexcept {
    std::size_t granules =
        std::bit_floor(std::min<std::size_t>(bytes / granule_bytes, detail::max_ring_granules));
    while (bytes_for(granules) > bytes)
      granules /= 2;
    return granules;
  }

  // Many producers: the data, then the words. One: granules that begin with their word, 8 bytes
  // before a multiple of 16.
  index_type make_index() noexcept {
    const auto granules =
        static_cast<std::uint32_t>(memory_.empty() ? 0 : granules_in(memory_.size()));
    if constexpr (has_many) {
      word* const words = make_words(granules * std::size_t{detail::ring_granule}, granules, 1);
      return index_type(words, granules, with_.on_stall == stalled_producer::skip);
    } else {
      static_assert(header_bytes == index_type::header_bytes);
      const auto places = static_cast<std::uint32_t>(
          memory_.empty() ? 0 : (memory_.size() - header_bytes) / detail::ring_granule);
      word* const words = make_words(header_bytes, places, index_type::word_stride);
      return index_type(words, granules, places);
    }
  }
  word* make_words(std::size_t offset, std::size_t count, std::size_t stride) noexcept {
    if (count == 0)
      return &no_words_;
    auto* const words = reinterpret_cast<word*>(memory_.data() + offset);
    for (std::size_t at = 0; at != count; ++at)
      new (words + at * stride) word(0);
    return words;
  }

  // A record's bytes.
  std::byte* data_at(std::uint64_t offset) const noexcept {
    return data_ + offset * detail::ring_granule;
  }
  std::byte* data_at(detail::ring_place place) const noexcept {
    return data_at(index_.offset_of(place));
  }

  // What is declared unusable: with many producers not the words.
  std::size_t poisonable_bytes() const noexcept {
    return has_many ? capacity_bytes() : memory_.size();
  }
  // With one producer, words may come to lie where bytes of records were.
  void own_header(std::uint64_t offset) const noexcept {
    if (!has_many && !memory_.empty())
      detail::own(data_at(offset) - header_bytes, header_bytes);
  }
  // For its producer.
  [[gnu::noinline]] void open(detail::ring_place place, std::size_t bytes) const noexcept {
    own_header(index_.offset_of(place));
    detail::usable(data_at(place), bytes);
  }
  void close(detail::ring_place place) const noexcept {
    detail::unusable(data_at(place), place.granules * std::size_t{detail::ring_granule} -
                                         (has_many ? 0 : header_bytes));
  }

  bool commit(detail::ring_place place, std::uint32_t reserved, std::size_t bytes) noexcept {
    if (bytes > reserved) [[unlikely]]
      report_misuse("commit", "it is of more than was reserved");
    if constexpr (!has_many)
      writing_ = false;
    if (is_watched_) [[unlikely]]
      return commit_watched(place, static_cast<std::uint32_t>(bytes));
    return index_.commit(place, static_cast<std::uint32_t>(bytes));
  }
  [[gnu::noinline]] bool commit_watched(detail::ring_place place, std::uint32_t bytes) noexcept {
    close(place);
    const bool committed = index_.commit(place, bytes);
    if (with_.blocking)
      readable_.notify();
    return committed;
  }
  [[gnu::noinline]] void cancel(detail::ring_place place) noexcept {
    if constexpr (!has_many)
      writing_ = false;
    close(place);
    index_.cancel(place);
    if (with_.blocking) // it may have been in the way
      readable_.notify();
  }

  [[gnu::noinline]] record try_read_slow() noexcept {
    const detail::ring_record found = look();
    return found.ready ? begin_read(found) : record();
  }
  // What is there, perhaps behind what is in the way.
  detail::ring_record look() noexcept {
    detail::ring_record found = look_once();
    while (!found.ready && with_.on_stall != stalled_producer::wait && settle_stall())
      found = look_once();
    return found;
  }
  detail::ring_record look_once() noexcept {
    if constexpr (has_many) { // it may free what was taken back
      const std::uint64_t before = index_.freed();
      const detail::ring_record found = index_.front();
      if (with_.blocking && index_.freed() != before)
        writable_.notify();
      return found;
    } else {
      return index_.front();
    }
  }

  std::optional<ring_stall> find_stall() noexcept {
    if constexpr (has_many) { // so that Clang 14 can instantiate all members
      if (!index_.is_held_up())
        return std::nullopt;
      const auto now = std::chrono::steady_clock::now();
      if (stalled_at_ != index_.position() + 1) {
        stalled_at_ = index_.position() + 1;
        stalled_since_ = now;
        told_ = false;
      }
      return ring_stall{index_.held_up_bytes(), now - stalled_since_};
    } else {
      return std::nullopt;
    }
  }
  // True: it was skipped.
  bool settle_stall() noexcept {
    const std::optional<ring_stall> stall = find_stall();
    if (!stall || stall->waited < with_.stall_limit)
      return false;
    if (with_.on_stall == stalled_producer::skip) {
      const bool passed = pass();
      skipped_ += passed;
      return passed;
    }
    if (!std::exchange(told_, true) && with_.tell_stall != nullptr)
      with_.tell_stall(*stall, with_.context);
    return false;
  }
  bool pass() noexcept {
    if constexpr (has_many)
      return index_.pass();
    else
      return false;
  }
  // Whether time will tell, and not only a producer.
  bool must_watch() const noexcept {
    if constexpr (has_many)
      return with_.on_stall != stalled_producer::wait && index_.is_held_up();
    else
      return false;
  }

  record begin_read(detail::ring_record found) noexcept {
    reading_ = true;
    std::byte* const begin = data_at(found.offset);
    if (is_watched_) [[unlikely]]
      detail::own(begin, found.bytes);
    return {*this, {begin, found.bytes}};
  }
  void end_read(std::span<std::byte> bytes) noexcept {
    reading_ = false;
    if (is_watched_) [[unlikely]]
      return end_watched_read(bytes);
    index_.pop(static_cast<std::uint32_t>(bytes.size()));
  }
  [[gnu::noinline]] void end_watched_read(std::span<std::byte> bytes) noexcept {
    detail::unusable(bytes.data(), bytes.size());
    index_.pop(static_cast<std::uint32_t>(bytes.size()));
    if (with_.blocking)
      writable_.notify();
  }

  void check_not_reading() const noexcept {
    if (reading_) [[unlikely]]
      report_misuse("read", "the record before has not ended");
  }
  void check_blocking() const noexcept {
    if (!with_.blocking) [[unlikely]]
      report_misuse("waiting", "its options do not say that it is blocking");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_misuse(const char* what,
                                                            const char* known) const noexcept {
    detail::misused({with_.name, what, this, known});
  }

  // Read by all, written never.
  const options with_;
  source& upstream_;
  const std::span<std::byte> acquired_; // empty: the caller's buffer
  const std::span<std::byte> memory_;   // the data, then the words
  std::byte* const data_;               // its begin
  const bool is_watched_;               // there is more to do than the index does
  const bool looks_twice_;              // for the consumer, too
  word no_words_{0};                    // where there is no memory: there is nothing to read
  index_type index_;
  alignas(64) bool writing_ = false; // the producer's
  alignas(64) bool reading_ = false; // the consumer's, and all up to the events
  bool told_ = false;
  std::size_t skipped_ = 0;
  std::uint64_t stalled_at_ = 0; // a position and 1; 0: none
  std::chrono::steady_clock::time_point stalled_since_{};
  alignas(64) detail::event<detail::sleeping_memory> readable_;
  alignas(64) detail::event<detail::sleeping_memory> writable_;
};

} // namespace mete

#endif
