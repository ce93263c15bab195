// counted<A>: an allocator whose use is counted, to find out what a program asks of it.
//
//   mete::counted<mete::arena> nodes({.inner = {.name = "nodes"}});
//   ...
//   std::puts(nodes.json().c_str());
//
// Size classes are the powers of two: class c has the sizes above 2^(c-1), to 2^c. How long calls
// take is counted in powers of two of nanoseconds, the clock's own time included (some 20 to 50).
//
// Thread safety: one thread at a time; in a locked<counted<A>> any.
//
// SPDX-License-Identifier: MIT
#ifndef METE_COUNTED_HPP
#define METE_COUNTED_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include <mete/allocator.hpp>
#include <mete/detail/call_site.hpp>

namespace mete {

// How many calls took less than 2^i nanoseconds, and not less than 2^(i-1).
class latency_histogram {
public:
  static constexpr std::size_t count = 40; // the last has all that took longer

  void add(std::uint64_t nanoseconds) noexcept {
    ++calls_[std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(nanoseconds)),
                                   count - 1)];
  }
  [[nodiscard]] std::uint64_t calls(std::size_t index) const noexcept { return calls_[index]; }
  [[nodiscard]] std::uint64_t calls() const noexcept {
    std::uint64_t all = 0;
    for (const std::uint64_t each : calls_)
      all += each;
    return all;
  }
  [[nodiscard]] static constexpr std::uint64_t below_ns(std::size_t index) noexcept {
    return std::uint64_t{1} << index;
  }
  // So many nanoseconds are enough for this part of the calls, from 0 to 1: the bound of a power of
  // two. 0 if there were none.
  [[nodiscard]] std::uint64_t percentile_ns(double part) const noexcept {
    const auto wanted = static_cast<double>(calls()) * part;
    std::uint64_t so_far = 0;
    for (std::size_t index = 0; index < count; ++index) {
      so_far += calls_[index];
      if (so_far != 0 && static_cast<double>(so_far) >= wanted)
        return below_ns(index);
    }
    return 0;
  }

private:
  std::array<std::uint64_t, count> calls_{};
};

struct size_class_counts {
  std::uint64_t allocations = 0;
  std::uint64_t bytes = 0; // of all allocations, as they were asked for
  std::size_t live_blocks = 0;
  std::size_t live_bytes = 0;
  std::size_t peak_blocks = 0;
  std::size_t peak_bytes = 0;
};

template <class A>
class counted : public allocator_base<counted<A>> {
public:
  struct options {
    typename A::options inner = {};
    unsigned latency_every = 1; // each n-th call is timed; 0: none
  };
  static constexpr std::size_t class_count = 65;

  explicit counted(const options& with = {})
      : allocator_base<counted>(nullptr), allocator_(with.inner),
        latency_every_(with.latency_every) {}

  [[nodiscard]] const char* name() const noexcept { return allocator_.name(); }

  [[nodiscard]] void* try_allocate(std::size_t size, std::size_t alignment = default_alignment,
                                   const call_site& where = call_site::current()) noexcept {
    void* const block = timed(allocate_latency_, [&] {
      return detail::try_allocate_at(allocator_, size, alignment, where);
    });
    if (block != nullptr)
      count_allocation(size);
    else
      ++failures_;
    return block;
  }
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment = default_alignment,
                               const call_site& where = call_site::current()) {
    void* const block = try_allocate(size, alignment, where);
    if (block == nullptr) [[unlikely]]
      this->report_exhaustion(size, alignment);
    return block;
  }
  void deallocate(void* block, std::size_t size, std::size_t alignment = default_alignment,
                  const call_site& where = call_site::current()) noexcept {
    count_deallocation(size);
    timed(deallocate_latency_, [&] {
      detail::deallocate_at(allocator_, block, size, alignment, where);
      return nullptr;
    });
  }
  [[nodiscard]] bool owns(const void* block) const noexcept { return allocator_.owns(block); }

  // In bytes as they were asked for, unlike A's own usage(); reserved_bytes is A's.
  [[nodiscard]] allocator_usage usage() const noexcept {
    return {all_.live_bytes, allocator_.usage().reserved_bytes, all_.peak_bytes, largest_};
  }
  void trim() noexcept requires requires(A& a) { a.trim(); }
  { allocator_.trim(); }
  // Nothing lives any more; the other counts stay.
  void reset() noexcept requires requires(A& a) { a.reset(); }
  {
    allocator_.reset();
    for (size_class_counts& each : classes_)
      each.live_blocks = each.live_bytes = 0;
    all_.live_blocks = all_.live_bytes = 0;
  }

  // Of all sizes, and of one class.
  [[nodiscard]] const size_class_counts& counts() const noexcept { return all_; }
  [[nodiscard]] const size_class_counts& counts(std::size_t index) const noexcept {
    return classes_[index];
  }
  [[nodiscard]] static constexpr std::size_t class_of(std::size_t size) noexcept {
    return static_cast<std::size_t>(std::bit_width(size - (size != 0)));
  }
  [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
  [[nodiscard]] const latency_histogram& allocate_latency() const noexcept {
    return allocate_latency_;
  }
  [[nodiscard]] const latency_histogram& deallocate_latency() const noexcept {
    return deallocate_latency_;
  }

  // A itself; what is done with it directly is not counted.
  [[nodiscard]] A& get() noexcept { return allocator_; }

  // All of it as one JSON object; classes and times that never occurred are left out.
  [[nodiscard]] std::string json() const {
    std::string text = "{\"name\": \"" + escaped(name()) + "\"";
    append_counts(text, all_);
    append(text, ", \"failures\": %llu, \"largest_request_bytes\": %llu", failures_, largest_);
    append(text, ", \"reserved_bytes\": %llu, \"classes\": [", allocator_.usage().reserved_bytes);
    const char* separator = "";
    for (std::size_t index = 0; index < class_count; ++index) {
      if (classes_[index].allocations == 0)
        continue;
      text += separator;
      append(text, "{\"max_bytes\": %llu", index < 64 ? std::uint64_t{1} << index : UINT64_MAX);
      append_counts(text, classes_[index]);
      text += "}";
      separator = ", ";
    }
    text += "]";
    append_latency(text, "allocate", allocate_latency_);
    append_latency(text, "deallocate", deallocate_latency_);
    return text + "}";
  }

private:
  template <class Call>
  void* timed(latency_histogram& into, const Call& call) noexcept {
    if (latency_every_ == 0 || ++calls_since_timed_ < latency_every_)
      return call();
    calls_since_timed_ = 0;
    using clock = std::chrono::steady_clock;
    const clock::time_point begin = clock::now();
    void* const result = call();
    const std::chrono::nanoseconds took = clock::now() - begin;
    into.add(static_cast<std::uint64_t>(took.count()));
    return result;
  }

  void count_allocation(std::size_t size) noexcept {
    largest_ = std::max(largest_, size);
    for (size_class_counts* each : {&all_, &classes_[class_of(size)]}) {
      ++each->allocations;
      each->bytes += size;
      each->peak_blocks = std::max(each->peak_blocks, ++each->live_blocks);
      each->peak_bytes = std::max(each->peak_bytes, each->live_bytes += size);
    }
  }
  void count_deallocation(std::size_t size) noexcept {
    for (size_class_counts* each : {&all_, &classes_[class_of(size)]}) {
      --each->live_blocks;
      each->live_bytes -= size;
    }
  }

  template <class... Numbers>
  static void append(std::string& text, const char* format, Numbers... numbers) {
    char buffer[256];
    std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned long long>(numbers)...);
    text += buffer;
  }
  static void append_counts(std::string& text, const size_class_counts& counts) {
    append(text, ", \"allocations\": %llu, \"bytes\": %llu", counts.allocations, counts.bytes);
    append(text, ", \"live_blocks\": %llu, \"live_bytes\": %llu", counts.live_blocks,
           counts.live_bytes);
    append(text, ", \"peak_blocks\": %llu, \"peak_bytes\": %llu", counts.peak_blocks,
           counts.peak_bytes);
  }
  static void append_latency(std::string& text, const char* of, const latency_histogram& times) {
    text += std::string(", \"") + of + "_latency\": [";
    const char* separator = "";
    for (std::size_t index = 0; index < latency_histogram::count; ++index) {
      if (times.calls(index) == 0)
        continue;
      text += separator;
      append(text, "{\"below_ns\": %llu, \"calls\": %llu}", latency_histogram::below_ns(index),
             times.calls(index));
      separator = ", ";
    }
    text += "]";
  }
  static std::string escaped(const char* text) {
    std::string result;
    for (; *text != '\0'; ++text) {
      const auto character = static_cast<unsigned char>(*text);
      if (character < 0x20) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", unsigned{character});
        result += code;
      } else {
        if (character == '"' || character == '\\')
          result += '\\';
        result += *text;
      }
    }
    return result;
  }

  A allocator_;
  size_class_counts all_;
  std::array<size_class_counts, class_count> classes_{};
  std::uint64_t failures_ = 0;
  std::size_t largest_ = 0;
  const unsigned latency_every_;
  unsigned calls_since_timed_ = 0;
  latency_histogram allocate_latency_;
  latency_histogram deallocate_latency_;
};

} // namespace mete

#endif
