// The programs that remote_free_model_test.cpp explores: a slab, its users, and what must hold.
//
// Each world runs the code of remote_free.hpp itself, over a `Memory` that the explorer watches,
// and with the steps of `Protocol`: `correct`, or a mutant of it.
//
// SPDX-License-Identifier: MIT
#ifndef METE_HEAP_REMOTE_FREE_MODEL_HPP
#define METE_HEAP_REMOTE_FREE_MODEL_HPP

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/bits.hpp"
#include "heap/remote_free.hpp"
#include "interleave.hpp"

namespace mete::heap::model {

using interleave::check;

// The protocol's steps as they are.
struct correct {
  template <class Memory>
  static void publish(remote_state<Memory>& slab, std::uint32_t blocks) {
    heap::publish(slab, blocks);
  }
  template <class Memory, class Word, class Sink>
  static collected collect(remote_state<Memory>& slab, Word* words, std::size_t count,
                           Sink&& sink) {
    return heap::collect(slab, words, count, sink);
  }
  template <class Memory, class Visit>
  static void drain(pending_list<Memory>& list, Visit&& visit) {
    heap::drain(list, visit);
  }
  template <class Memory>
  static bool is_settled(const remote_state<Memory>& slab) {
    return heap::is_settled(slab);
  }
};

// ---- a slab of the worlds -----------------------------------------------------------------------

template <class Memory>
using word_of = typename Memory::template atomic<std::uint64_t>;

// Two words of four blocks each, all handed out; the first blocks_used() of them in use elsewhere.
template <class Memory, class Protocol>
struct model_slab : remote_state<Memory> {
  static constexpr std::size_t word_count = 2;
  std::array<word_of<Memory>, word_count> words;
  // What a program does with a block: any unordered use by freer and next user is a race.
  std::array<typename Memory::template plain<int>, 8> contents;
  std::array<std::uint64_t, word_count> local{}; // the owner's bitmap: free blocks
  std::array<std::uint64_t, word_count> used{};  // all blocks that will come home
  int lives = 1;

  void label() {
    this->count.label("count");
    this->owner.label("owner");
    this->pending_next.label("pending_next");
    this->debt.label("debt");
    words[0].label("word 0");
    words[1].label("word 1");
    for (auto& each : contents) {
      each.label("block");
    }
  }

  typename Memory::template plain<int>& block(std::size_t word, std::uint64_t bit) {
    return contents[word * 4 + static_cast<std::size_t>(std::countr_zero(bit))];
  }

  // A freer: last use of the blocks, then the protocol.
  void free(std::size_t word, std::uint64_t bits) {
    for (std::uint64_t rest = bits; rest != 0; rest &= rest - 1) {
      block(word, rest) = 1;
    }
    check(deliver(words.data(), word, bits) == 0, "a block is freed twice");
    Protocol::publish(*this, count_bits(bits));
  }

  // The owner: blocks come home and are at once used again.
  void collect() {
    const collected result = Protocol::collect(
        *this, words.data(), word_count, [this](std::size_t word, std::uint64_t bits) {
          check((local[word] & bits) == 0, "a block came home twice");
          check((bits & ~used[word]) == 0, "a block came home that nobody freed");
          local[word] |= bits;
          for (; bits != 0; bits &= bits - 1) {
            block(word, bits) = 2;
          }
        });
    check(result.counts != 0, "a slab was on two lists, or twice on one");
    check(this->debt >= 0, "more was published than delivered");
  }

  bool is_empty() const { return local == used; }

  // Its memory begins another life. Any access by a freer that is not over is a race.
  void release() {
    ++lives;
    local = {};
    used = {};
    this->count.reset(0);
    this->debt = 0;
    this->pending_next = nullptr;
    for (auto& word : words) {
      word.reset(0);
    }
    for (auto& each : contents) {
      each = 3;
    }
  }

  void check_settled() {
    check(is_empty(), "a block is lost");
    check(this->debt == 0, "debt is left");
    check(this->count.peek() == 0, "a count is left");
  }
};

// ---- worlds ------------------------------------------------------------------------------------

// Two freers, one owner, one slab. `same_word`: both in one remote word. The owner drains three
// times (once without a look at the list, taking bits early, if `early`), releases the slab when it
// is empty and settled, and then drains at leisure.
template <class Memory, class Protocol>
struct one_slab {
  static constexpr std::size_t thread_count = 3;
  static const char* thread_name(std::size_t index) {
    return std::array{"freer 1", "freer 2", "owner"}[index];
  }

  model_slab<Memory, Protocol> slab;
  pending_list<Memory> list;
  std::array<word_of<Memory>, 1> handed_over; // a block of the second life, for freer 2
  bool same_word;
  bool early;

  one_slab(bool same, bool take_early) : same_word(same), early(take_early) {
    slab.label();
    list.head().label("list");
    handed_over[0].label("mailbox");
    slab.owner.store(&list, std::memory_order_relaxed);
    slab.used =
        same_word ? std::array<std::uint64_t, 2>{0b111, 0} : std::array<std::uint64_t, 2>{1, 6};
  }

  void thread(std::size_t index) {
    switch (index) {
    case 0:
      return slab.free(0, 0b001);
    case 1:
      slab.free(same_word ? 0 : 1, 0b110);
      // It may also be the first remote freer of the slab's next life.
      if (handed_over[0].load(std::memory_order_acquire) != 0) {
        slab.free(1, 0b1000);
      }
      return;
    default:
      for (int round = 0; round < 3; ++round) {
        if (early && round == 1) {
          take_early();
        }
        owner_step();
      }
    }
  }

  void take_early() {
    collect_early(slab, slab.words.data(), slab.word_count, [this](std::size_t w, std::uint64_t b) {
      check((slab.local[w] & b) == 0, "a block came home twice");
      slab.local[w] |= b;
    });
    release_if_empty();
  }

  void owner_step() {
    Protocol::drain(list, [this](remote_state<Memory>& pending) {
      check(&pending == &slab, "a stranger on the list");
      slab.collect();
      release_if_empty();
    });
  }

  void release_if_empty() {
    if (slab.lives == 1 && slab.is_empty() && Protocol::is_settled(slab)) {
      slab.release();
      slab.owner.reset(&list);
      slab.used = {0, 0b1000};
      handed_over[0].store(1, std::memory_order_release);
    }
  }

  void finish() {
    owner_step();
    check(list.empty(), "the list is not empty");
    if (slab.lives == 2 && slab.local[1] == 0) {
      slab.used = {}; // freer 2 had gone before the block came
    }
    if (slab.lives == 1) {
      check(slab.is_empty() && slab.debt == 0, "an empty slab could not be released");
    }
    slab.check_settled();
  }
};

// Two freers, each frees in two slabs, in opposite order: lists of two, pushes during a drain.
template <class Memory, class Protocol>
struct two_slabs {
  static constexpr std::size_t thread_count = 3;
  static const char* thread_name(std::size_t index) {
    return std::array{"freer 1", "freer 2", "owner"}[index];
  }

  std::array<model_slab<Memory, Protocol>, 2> slabs;
  pending_list<Memory> list;

  two_slabs() {
    list.head().label("list");
    for (auto& slab : slabs) {
      slab.label();
      slab.owner.store(&list, std::memory_order_relaxed);
      slab.used = {0b11, 0};
    }
  }

  void thread(std::size_t index) {
    if (index < 2) {
      slabs[index].free(0, std::uint64_t{1} << index);
      slabs[1 - index].free(0, std::uint64_t{1} << index);
      return;
    }
    owner_step();
    owner_step();
  }

  void owner_step() {
    Protocol::drain(list, [](remote_state<Memory>& pending) {
      auto& slab = static_cast<model_slab<Memory, Protocol>&>(pending);
      slab.collect();
      if (slab.lives == 1 && slab.is_empty() && Protocol::is_settled(slab)) {
        slab.release();
      }
    });
  }

  void finish() {
    owner_step();
    check(list.empty(), "the list is not empty");
    slabs[0].check_settled();
    slabs[1].check_settled();
  }
};

// A slab of a heap without a thread is taken over by another heap, that came to be just now, while
// two freers free in it and a purger drains the old heap.
template <class Memory, class Protocol>
struct take_over {
  static constexpr std::size_t thread_count = 4;
  static const char* thread_name(std::size_t index) {
    return std::array{"freer 1", "freer 2", "new owner", "purger"}[index];
  }
  struct heap {
    pending_list<Memory> list;
    interleave::modelled_atomic<int> lock{0};
    bool try_lock() {
      int expected = 0;
      return lock.compare_exchange_strong(expected, 1, std::memory_order_acquire,
                                          std::memory_order_relaxed);
    }
    void unlock() { lock.store(0, std::memory_order_release); }
  };

  model_slab<Memory, Protocol> slab;
  heap abandoned;
  heap adopter;

  take_over() {
    slab.label();
    abandoned.list.head().label("old list");
    adopter.list.head().label("new list");
    abandoned.lock.label("old heap's lock");
    slab.owner.store(&abandoned.list, std::memory_order_relaxed);
    slab.used = {0b11, 0};
  }

  void thread(std::size_t index) {
    switch (index) {
    case 0:
    case 1:
      return slab.free(0, std::uint64_t{1} << index);
    case 2:
      adopter.list.head().reset(nullptr); // a new heap
      if (abandoned.try_lock()) {
        change_owner(slab, adopter.list);
        abandoned.unlock();
      }
      return drain_heap(adopter);
    default:
      if (abandoned.try_lock()) {
        drain_heap(abandoned);
        abandoned.unlock();
      }
    }
  }

  void drain_heap(heap& held) {
    Protocol::drain(held.list, [this, &held](remote_state<Memory>&) {
      check(slab.owner.peek() == &held.list, "a heap collects a slab of another heap");
      slab.collect();
      if (slab.lives == 1 && slab.is_empty() && Protocol::is_settled(slab)) {
        slab.release();
      }
    });
  }

  void finish() {
    drain_heap(abandoned); // may forward to the adopter
    drain_heap(adopter);
    check(abandoned.list.empty() && adopter.list.empty(), "a list is not empty");
    slab.check_settled();
  }
};

// A living owner gives its slab away while its own list is being filled.
template <class Memory, class Protocol>
struct give_away {
  static constexpr std::size_t thread_count = 4;
  static const char* thread_name(std::size_t index) {
    return std::array{"freer 1", "freer 2", "giver", "taker"}[index];
  }

  model_slab<Memory, Protocol> slab;
  pending_list<Memory> given_from;
  pending_list<Memory> given_to;
  interleave::modelled_atomic<int> mailbox{0};

  give_away() {
    slab.label();
    given_from.head().label("giver's list");
    given_to.head().label("taker's list");
    mailbox.label("mailbox");
    slab.owner.store(&given_from, std::memory_order_relaxed);
    slab.used = {0b11, 0};
  }

  void thread(std::size_t index) {
    switch (index) {
    case 0:
    case 1:
      return slab.free(0, std::uint64_t{1} << index);
    case 2:
      drain_list(given_from);
      change_owner(slab, given_to);
      mailbox.store(1, std::memory_order_release);
      return drain_list(given_from);
    default:
      mailbox.wait_until([](int value) { return value == 1; }, std::memory_order_acquire);
      drain_list(given_to);
    }
  }

  void drain_list(pending_list<Memory>& list) {
    Protocol::drain(list, [this](remote_state<Memory>&) { slab.collect(); });
  }

  void finish() {
    drain_list(given_from);
    drain_list(given_to);
    check(given_from.empty() && given_to.empty(), "a list is not empty");
    slab.check_settled();
  }
};

// The same, while the giver has taken the list and not drained it yet.
template <class Memory, class Protocol>
struct give_away_taken : give_away<Memory, Protocol> {
  using base = give_away<Memory, Protocol>;

  void thread(std::size_t index) {
    if (index != 2) {
      return base::thread(index);
    }
    remote_state<Memory>* rest = this->given_from.take_all();
    change_owner(this->slab, this->given_to);
    this->mailbox.store(1, std::memory_order_release);
    heap::drain(this->given_from, rest, 1,
                [](remote_state<Memory>&) { check(false, "a slab of another heap is collected"); });
    check(rest == nullptr, "one slab is on the list twice");
  }
};

} // namespace mete::heap::model

#endif
