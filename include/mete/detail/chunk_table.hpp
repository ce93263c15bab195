// The chunks of an allocator in the order of their addresses, so that the one of an address is
// found by bisection.
//
// For chunks that are few and seldom come and go: insert and erase move what lies behind,
// O(chunks); find O(log(chunks)). The table's memory comes from the allocator's source and doubles.
// Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_CHUNK_TABLE_HPP
#define METE_DETAIL_CHUNK_TABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <mete/detail/arithmetic.hpp>
#include <mete/source.hpp>

namespace mete::detail {

class chunk_table {
public:
  struct chunk {
    std::span<std::byte> memory;
    std::size_t free_blocks = 0; // for the allocator to count in
  };

  chunk_table() = default;
  chunk_table(const chunk_table&) = delete;
  chunk_table& operator=(const chunk_table&) = delete;

  std::span<chunk> all() noexcept { return {chunks_, count_}; }
  std::span<const chunk> all() const noexcept { return {chunks_, count_}; }

  // The chunk in which the address lies, or nullptr.
  chunk* find(const void* address) noexcept {
    return const_cast<chunk*>(static_cast<const chunk_table&>(*this).find(address));
  }
  const chunk* find(const void* address) const noexcept {
    const std::uintptr_t at = address_of(address);
    const chunk* const behind =
        std::upper_bound(chunks_, chunks_ + count_, at, [](std::uintptr_t to, const chunk& each) {
          return to < address_of(each.memory.data());
        });
    if (behind == chunks_)
      return nullptr;
    const std::span<std::byte> memory = behind[-1].memory;
    return at - address_of(memory.data()) < memory.size() ? behind - 1 : nullptr;
  }

  // Makes sure that one more can be inserted. False if the source has no more.
  [[nodiscard]] bool reserve_one(source& from) noexcept {
    if (count_ < room())
      return true;
    const std::span<std::byte> memory =
        from.acquire(std::max(2 * room(), first_room) * sizeof(chunk), alignof(chunk));
    if (memory.empty())
      return false;
    auto* const chunks = reinterpret_cast<chunk*>(memory.data());
    std::uninitialized_copy_n(chunks_, count_, chunks);
    release(from);
    memory_ = memory;
    chunks_ = chunks;
    return true;
  }

  // REQUIRES: reserve_one() was called since.
  void insert(std::span<std::byte> memory) noexcept {
    chunk* at = new (chunks_ + count_++) chunk{memory};
    for (; at != chunks_ && address_of(at[-1].memory.data()) > address_of(memory.data()); --at)
      std::swap(at[-1], at[0]);
  }

  // Erases those for which `gone(chunk)` is true, which is called once for each, in order.
  template <class Gone>
  void erase_if(Gone gone) noexcept {
    std::size_t kept = 0;
    for (const chunk& each : all())
      if (!gone(each))
        chunks_[kept++] = each;
    count_ = kept;
  }

  // Forgets all and gives the table back.
  void clear(source& to) noexcept {
    release(to);
    memory_ = {};
    chunks_ = nullptr;
    count_ = 0;
  }

private:
  static constexpr std::size_t first_room = 8;

  std::size_t room() const noexcept { return memory_.size() / sizeof(chunk); }

  void release(source& to) noexcept {
    if (!memory_.empty())
      to.release(memory_, alignof(chunk));
  }

  chunk* chunks_ = nullptr; // count_ of them, in memory_
  std::size_t count_ = 0;
  std::span<std::byte> memory_;
};

} // namespace mete::detail

#endif
