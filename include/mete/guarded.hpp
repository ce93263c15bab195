// guarded<A>: an allocator that finds its users' mistakes and says who made them.
//
// Basic design. Each block of A holds, in this order: a record of the block, a fence, the user's
// bytes, and a fence. Fences are known bytes that are checked when the block comes back. A block
// that was given back is filled, kept in quarantine for a while, and checked again before A gets
// it: what has changed was written after the free. A table finds the record by the address without
// touching the memory there, so any address can be judged. (Fences and fills: S. Maguire, Writing
// Solid Code, 1993. Quarantine: as in AddressSanitizer, K. Serebryany et al., 2012.)
//
//   mete::guarded<mete::arena> level({.inner = {.name = "level"}});
//   void* block = level.allocate(24);
//   level.deallocate(block, 24);
//   level.deallocate(block, 24); // mete: level: double free of 0x...: block 1, 24 bytes, ...
//
// A mistake is reported as misuse (error.hpp), which ends the process, after the stacks of where
// the block was allocated and freed have been printed. Blocks that live when the guarded is
// destroyed are leaks; they are reported, and stay with A.
//
// Cost: extra_bytes() for each block, and about a microsecond, mostly for the stack traces.
// Thread safety: one thread at a time; in a locked<guarded<A>> any.
//
// SPDX-License-Identifier: MIT
#ifndef METE_GUARDED_HPP
#define METE_GUARDED_HPP

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <span>

#if __has_include(<execinfo.h>)
#  include <execinfo.h>
#endif

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/call_site.hpp>
#include <mete/source.hpp>

namespace mete {

struct leak_report {
  const char* allocator; // its name
  const void* address;
  std::size_t size;
  std::size_t alignment;
  std::uint64_t number; // of the allocation, from 1
  call_site where;
};

namespace detail {

// Where and when something was done to a block.
struct guard_event {
  static constexpr int max_frames = 12;

  call_site where;
  std::chrono::steady_clock::time_point when;
  int frame_count = 0;
  void* frames[max_frames];

  void record(const call_site& at, int stack_frames) noexcept {
    where = at;
    when = std::chrono::steady_clock::now();
    frame_count = 0;
#if __has_include(<execinfo.h>)
    if (stack_frames > 0)
      frame_count = backtrace(frames, std::min(stack_frames, max_frames));
#endif
  }

  void print_stack(const char* title) const noexcept {
#if __has_include(<execinfo.h>)
    if (frame_count == 0)
      return;
    std::fprintf(stderr, "mete: %s at\n", title);
    std::fflush(stderr);
    backtrace_symbols_fd(frames, frame_count, 2); // allocates nothing
#else
    static_cast<void>(title);
#endif
  }
};

// What guarded knows of a block. Lies at the begin of what the inner allocator gave.
struct guard_record {
  guard_record* next_in_bucket;
  guard_record* previous; // of those that live, or of those in quarantine
  guard_record* next;
  std::byte* begin; // of the user's bytes
  std::size_t size;
  std::size_t alignment;
  std::size_t total; // all bytes of the inner block
  std::uint64_t number;
  bool in_quarantine;
  guard_event allocated;
  guard_event freed;
};

// A list in the order of insertion.
class guard_list {
public:
  guard_record* first() const noexcept { return first_; }
  void add(guard_record& record) noexcept {
    record.previous = last_;
    record.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &record;
    last_ = &record;
  }
  void remove(guard_record& record) noexcept {
    (record.previous != nullptr ? record.previous->next : first_) = record.next;
    (record.next != nullptr ? record.next->previous : last_) = record.previous;
  }

private:
  guard_record* first_ = nullptr;
  guard_record* last_ = nullptr;
};

// Finds records by the address of the user's bytes: a hash table with chains. It doubles when there
// are more records than buckets, if default_source() has the memory; else its chains grow.
class guard_table {
public:
  guard_table() = default;
  guard_table(const guard_table&) = delete;
  guard_table& operator=(const guard_table&) = delete;
  ~guard_table() { release(); }

  guard_record* find(const void* begin) const noexcept {
    guard_record* each = *bucket_of(begin);
    while (each != nullptr && each->begin != begin)
      each = each->next_in_bucket;
    return each;
  }
  void add(guard_record& record) noexcept {
    if (count_ >= buckets_.size())
      grow();
    link(record);
    ++count_;
  }
  void remove(const guard_record& record) noexcept {
    guard_record** link = bucket_of(record.begin);
    while (*link != &record)
      link = &(*link)->next_in_bucket;
    *link = record.next_in_bucket;
    --count_;
  }
  void clear() noexcept {
    std::fill(buckets_.begin(), buckets_.end(), nullptr);
    count_ = 0;
  }

private:
  guard_record** bucket_of(const void* begin) const noexcept {
    // The golden ratio's bits (D. Knuth, The Art of Computer Programming, volume 3, 6.4).
    const std::uint64_t hash = address_of(begin) * std::uint64_t{0x9e3779b97f4a7c15};
    return &buckets_[(hash >> 32) & (buckets_.size() - 1)];
  }
  void link(guard_record& record) noexcept {
    guard_record** const bucket = bucket_of(record.begin);
    record.next_in_bucket = *bucket;
    *bucket = &record;
  }
  void grow() noexcept {
    const std::size_t bytes = 2 * buckets_.size_bytes();
    const std::span<std::byte> memory = default_source().acquire(bytes);
    if (memory.empty())
      return;
    const std::span<guard_record*> old = buckets_;
    const std::span<std::byte> old_memory = memory_;
    buckets_ = {new (memory.data()) guard_record* [bytes / sizeof(void*)] {},
                bytes / sizeof(void*)};
    memory_ = memory;
    for (guard_record* each : old) {
      while (each != nullptr) {
        guard_record* const next = each->next_in_bucket;
        link(*each);
        each = next;
      }
    }
    if (!old_memory.empty())
      default_source().release(old_memory);
  }
  void release() noexcept {
    if (!memory_.empty())
      default_source().release(memory_);
  }

  // Invariant: buckets_ has a power of two of them, in first_buckets_ or in memory_.
  std::array<guard_record*, 256> first_buckets_{};
  std::span<guard_record*> buckets_{first_buckets_};
  std::span<std::byte> memory_;
  std::size_t count_ = 0;
};

} // namespace detail

template <class A>
class guarded : public allocator_base<guarded<A>> {
  using record = detail::guard_record;

public:
  struct options {
    typename A::options inner = {};
    std::size_t quarantine_bytes = 256 * 1024; // at most kept back, in blocks with what they carry
    int stack_frames = 8;                      // of each trace, at most 12; 0: none
    void (*on_leak)(const leak_report&) = nullptr; // nullptr: a line on standard error
  };

  // What a block needs beside the user's bytes, for inner allocators with blocks of one size.
  static constexpr std::size_t extra_bytes(std::size_t alignment = default_alignment) noexcept {
    return head_bytes(std::max(alignment, alignof(record))) + fence_bytes;
  }

  explicit guarded(const options& with = {})
      : allocator_base<guarded>(nullptr), inner_(with.inner),
        quarantine_limit_bytes_(with.quarantine_bytes), stack_frames_(with.stack_frames),
        on_leak_(with.on_leak) {}
  ~guarded() {
    check_invariants();
    while (quarantine_.first() != nullptr)
      release_oldest();
    report_leaks();
  }

  [[nodiscard]] const char* name() const noexcept { return inner_.name(); }

  // New bytes are filled, so that nobody takes them for zeros.
  [[nodiscard]] void* try_allocate(std::size_t size, std::size_t alignment = default_alignment,
                                   const call_site& where = call_site::current()) noexcept {
    const std::size_t inner_alignment = std::max(alignment, alignof(record));
    std::size_t total = 0;
    if (!detail::is_power_of_two(alignment) || alignment > SIZE_MAX / 4 ||
        !detail::add(head_bytes(inner_alignment) + fence_bytes, size, total))
      return nullptr;
    void* const memory = inner_.try_allocate(total, inner_alignment);
    if (memory == nullptr)
      return nullptr;
    std::byte* const begin = static_cast<std::byte*>(memory) + head_bytes(inner_alignment);
    record& added = *new (memory) record{};
    added.begin = begin;
    added.size = size;
    added.alignment = alignment;
    added.total = total;
    added.number = ++allocations_;
    added.allocated.record(where, stack_frames_);
    std::fill(fence_begin(added), begin, fence_fill);
    std::fill(begin + size, begin + size + fence_bytes, fence_fill);
    std::fill(begin, begin + size, new_fill);
    detail::usable(begin, size); // and Valgrind knows that they have no meaning
    table_.add(added);
    live_.add(added);
    live_bytes_ += size;
    peak_bytes_ = std::max(peak_bytes_, live_bytes_);
    largest_ = std::max(largest_, size);
    return begin;
  }
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment = default_alignment,
                               const call_site& where = call_site::current()) {
    void* const block = try_allocate(size, alignment, where);
    if (block == nullptr) [[unlikely]]
      this->report_exhaustion(size, alignment);
    return block;
  }

  // Judges the call, then keeps the block in quarantine.
  void deallocate(void* block, std::size_t size, std::size_t alignment = default_alignment,
                  const call_site& where = call_site::current()) noexcept {
    record* const found = table_.find(block);
    if (found == nullptr)
      report_foreign(block);
    if (found->in_quarantine)
      report("double free", *found);
    if (found->size != size)
      report("free with another size", *found, size, "bytes");
    if (found->alignment != alignment)
      report("free with another alignment", *found, alignment, "as the alignment");
    check(*found);
    found->freed.record(where, stack_frames_);
    found->in_quarantine = true;
    std::fill(found->begin, found->begin + size, freed_fill);
    detail::unusable(found->begin, size);
    live_.remove(*found);
    live_bytes_ -= size;
    quarantine_.add(*found);
    quarantine_bytes_ += found->total;
    while (quarantine_bytes_ > quarantine_limit_bytes_)
      release_oldest();
  }

  // Whether the address lies in memory of A.
  [[nodiscard]] bool owns(const void* block) const noexcept { return inner_.owns(block); }

  // The user's bytes; reserved_bytes is A's.
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {live_bytes_, inner_.usage().reserved_bytes, peak_bytes_, largest_};
  }

  // Empties the quarantine, and trims A.
  void trim() noexcept {
    while (quarantine_.first() != nullptr)
      release_oldest();
    if constexpr (requires(A & a) { a.trim(); })
      inner_.trim();
  }

  // Ends everything, as A does. What lived is no leak.
  void reset() noexcept requires requires(A& a) { a.reset(); }
  {
    check_invariants();
    table_.clear();
    live_ = {};
    quarantine_ = {};
    live_bytes_ = quarantine_bytes_ = 0;
    inner_.reset();
  }

  // Checks all fences and fills now. O(bytes).
  void check_invariants() noexcept {
    for (const record* each = live_.first(); each != nullptr; each = each->next)
      check(*each);
    for (const record* each = quarantine_.first(); each != nullptr; each = each->next)
      check(*each);
  }

  // Calls report(leak_report) for each block that lives, the oldest first.
  template <class Report>
  void for_each_live(const Report& report) const {
    for (const record* each = live_.first(); each != nullptr; each = each->next)
      report(leak_report{name(), each->begin, each->size, each->alignment, each->number,
                         each->allocated.where});
  }

  // A itself; what is done with it directly is not guarded.
  [[nodiscard]] A& get() noexcept { return inner_; }

private:
  static constexpr std::size_t fence_bytes = 32;
  static constexpr std::byte fence_fill{0xfd};
  static constexpr std::byte new_fill{0xcd};
  static constexpr std::byte freed_fill{0xdd};
  static constexpr unsigned leaks_printed = 20;

  // The first fence takes what alignment leaves.
  static constexpr std::size_t head_bytes(std::size_t alignment) noexcept {
    return detail::align_up(sizeof(record) + fence_bytes, alignment);
  }
  static std::byte* fence_begin(record& of) noexcept {
    return reinterpret_cast<std::byte*>(&of + 1);
  }
  static const std::byte* fence_begin(const record& of) noexcept {
    return reinterpret_cast<const std::byte*>(&of + 1);
  }

  static bool is_filled(const std::byte* begin, const std::byte* end, std::byte with) noexcept {
    return std::all_of(begin, end, [with](std::byte each) { return each == with; });
  }

  void check(const record& which) const noexcept {
    const std::byte* const end = which.begin + which.size;
    if (!is_filled(fence_begin(which), which.begin, fence_fill))
      report("write before the begin", which);
    if (!is_filled(end, end + fence_bytes, fence_fill))
      report("write past the end", which);
    if (!which.in_quarantine)
      return;
    detail::own(which.begin, which.size);
    if (!is_filled(which.begin, end, freed_fill))
      report("write after the free", which);
    detail::unusable(which.begin, which.size);
  }

  void release_oldest() noexcept {
    record& oldest = *quarantine_.first();
    check(oldest);
    quarantine_.remove(oldest);
    table_.remove(oldest);
    quarantine_bytes_ -= oldest.total;
    const std::size_t total = oldest.total;
    const std::size_t alignment = std::max(oldest.alignment, alignof(record));
    detail::usable(&oldest, total);
    inner_.deallocate(&oldest, total, alignment);
  }

  // ---- reports --------------------------------------------------------------------------------

  static constexpr std::size_t text_bytes = 640;

  static int print(char* to, std::size_t room, const char* verb,
                   const detail::guard_event& event) noexcept {
    const std::chrono::duration<double> ago = std::chrono::steady_clock::now() - event.when;
    const int length = std::snprintf(to, room, ", %s %.6f s ago by %s:%u (%s)", verb, ago.count(),
                                     event.where.file, event.where.line, event.where.function);
    return std::min(length, static_cast<int>(room) - 1);
  }

  static void describe(const record& which, char (&text)[text_bytes]) noexcept {
    int length =
        std::snprintf(text, text_bytes, "block %llu, %zu bytes aligned to %zu",
                      static_cast<unsigned long long>(which.number), which.size, which.alignment);
    length += print(text + length, text_bytes - static_cast<std::size_t>(length), "allocated",
                    which.allocated);
    if (which.in_quarantine)
      print(text + length, text_bytes - static_cast<std::size_t>(length), "freed", which.freed);
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report(const char* what,
                                                     const record& which) const noexcept {
    char text[text_bytes];
    describe(which, text);
    which.allocated.print_stack("allocated");
    if (which.in_quarantine)
      which.freed.print_stack("freed");
    this->report_misuse(what, which.begin, text);
  }
  [[noreturn, gnu::cold, gnu::noinline]] void
  report(const char* what, const record& which, std::size_t given, const char* of) const noexcept {
    char known[text_bytes];
    describe(which, known);
    char text[text_bytes + 64];
    std::snprintf(text, sizeof text, "%zu %s were given: %s", given, of, known);
    which.allocated.print_stack("allocated");
    this->report_misuse(what, which.begin, text);
  }

  [[noreturn, gnu::cold, gnu::noinline]] void report_foreign(const void* block) const noexcept {
    const std::uintptr_t address = detail::address_of(block);
    for (const record* each = live_.first(); each != nullptr; each = each->next) {
      const std::size_t offset = address - detail::address_of(each->begin);
      if (offset >= each->size)
        continue;
      char known[text_bytes];
      describe(*each, known);
      char text[text_bytes + 64];
      std::snprintf(text, sizeof text, "it is %zu bytes into %s", offset, known);
      each->allocated.print_stack("allocated");
      this->report_misuse("free of a part", block, text);
    }
    this->report_misuse("foreign free", block,
                        inner_.owns(block)
                            ? "it is no block, or was one that left the quarantine since"
                            : "it is no block of this allocator");
  }

  void report_leaks() const noexcept {
    unsigned reported = 0;
    for_each_live([&](const leak_report& leak) {
      ++reported;
      if (on_leak_ != nullptr)
        on_leak_(leak);
      else if (reported <= leaks_printed)
        std::fprintf(stderr,
                     "mete: %s: leak of %p: block %llu, %zu bytes, allocated by %s:%u (%s)\n",
                     leak.allocator, leak.address, static_cast<unsigned long long>(leak.number),
                     leak.size, leak.where.file, leak.where.line, leak.where.function);
    });
    if (on_leak_ == nullptr && reported > leaks_printed)
      std::fprintf(stderr, "mete: %s: %u more leaks\n", name(), reported - leaks_printed);
  }

  // Invariants: table_ has what live_ and quarantine_ have. live_bytes_ is the sum of size over
  // live_, quarantine_bytes_ that of total over quarantine_, and at most its limit.
  A inner_;
  detail::guard_table table_;
  detail::guard_list live_;
  detail::guard_list quarantine_;
  const std::size_t quarantine_limit_bytes_;
  std::size_t quarantine_bytes_ = 0;
  std::size_t live_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
  std::size_t largest_ = 0;
  std::uint64_t allocations_ = 0;
  const int stack_frames_;
  void (*const on_leak_)(const leak_report&);
};

} // namespace mete

#endif
