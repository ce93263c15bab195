// Finds the object at an address, if there is one: a hash table with chaining whose links lie in
// the objects.
//
// Used where an address may be anybody's, and must not be followed. The table of chains begins
// inside the index and grows from a source; where that has no more, the chains become longer and
// nothing fails. find, insert, erase: O(1) on average. Not thread-safe.
//
// SPDX-License-Identifier: MIT
#ifndef METE_DETAIL_ADDRESS_INDEX_HPP
#define METE_DETAIL_ADDRESS_INDEX_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <span>

#include <mete/detail/arithmetic.hpp>
#include <mete/source.hpp>

namespace mete::detail {

// An Object has `Object* next_in_chain`, which belongs to the index while the object is in it.
template <class Object>
class address_index {
public:
  address_index() = default;
  address_index(const address_index&) = delete;
  address_index& operator=(const address_index&) = delete;

  // nullptr: there is none.
  const Object* find(std::uintptr_t address) const noexcept {
    const Object* each = chains_[chain_of(address)];
    while (each != nullptr && address_of(each) != address)
      each = each->next_in_chain;
    return each;
  }

  // The table doubles now and then. REQUIRES: not in it.
  void insert(Object& added, source& from) noexcept {
    if (count_ >= 2 * chain_count())
      grow(from);
    ++count_;
    link(added);
  }

  // REQUIRES: it is in it.
  void erase(Object& gone) noexcept {
    Object** at = &chains_[chain_of(address_of(&gone))];
    while (*at != &gone)
      at = &(*at)->next_in_chain;
    *at = gone.next_in_chain;
    --count_;
  }

  // Gives the table back. REQUIRES: nothing is in it.
  void clear(source& to) noexcept {
    release(to);
    memory_ = {};
    chains_ = first_chains_;
    std::fill(std::begin(first_chains_), std::end(first_chains_), nullptr);
    bits_ = first_bits;
  }

private:
  static constexpr int first_bits = 3;

  std::size_t chain_count() const noexcept { return std::size_t{1} << bits_; }

  // Multiplicative hashing (D. Knuth, The Art of Computer Programming, volume 3, 6.4): the low bits
  // of all addresses are alike.
  std::size_t chain_of(std::uintptr_t address) const noexcept {
    return (address * std::uint64_t{0x9e3779b97f4a7c15}) >> (64 - bits_);
  }

  void link(Object& added) noexcept {
    Object*& chain = chains_[chain_of(address_of(&added))];
    added.next_in_chain = chain;
    chain = &added;
  }

  void grow(source& from) noexcept {
    const std::size_t old_count = chain_count();
    const std::span<std::byte> memory =
        from.acquire(2 * old_count * sizeof(Object*), alignof(Object*));
    if (memory.empty())
      return;
    Object** const old_chains = chains_;
    chains_ = new (memory.data()) Object* [2 * old_count] {};
    ++bits_;
    for (std::size_t chain = 0; chain < old_count; ++chain) {
      for (Object* each = old_chains[chain]; each != nullptr;) {
        Object* const next = each->next_in_chain;
        link(*each);
        each = next;
      }
    }
    release(from);
    memory_ = memory;
  }

  void release(source& to) noexcept {
    if (!memory_.empty())
      to.release(memory_, alignof(Object*));
  }

  Object* first_chains_[std::size_t{1} << first_bits] = {};
  Object** chains_ = first_chains_;
  int bits_ = first_bits;
  std::size_t count_ = 0;
  std::span<std::byte> memory_; // of chains_; empty: first_chains_
};

} // namespace mete::detail

#endif
