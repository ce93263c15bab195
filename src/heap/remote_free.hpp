// Remote frees: how a block comes home from a thread that does not own its slab, without a lock.
//
// Basic design. A slab keeps, beside its owner's bitmap of free blocks, a second bitmap that every
// thread may write: the remote bitmap. A freer
//   1. delivers: ORs the bits of its blocks into the remote words (one atomic for all that share a
//      word), then
//   2. publishes: adds their number to the slab's count, and if the count was 0 pushes the slab on
//      the pending list of the slab's owner.
// The owner drains its list in its slow path: it takes the whole list, and collects each slab on
// it: count to 0 first, remote bits to the local bitmap second. So a slab is on at most one list, a
// free costs one or two uncontended atomics, and a hundred blocks of one slab cost hardly more than
// one.
//
// Why a debt. The owner takes whole words, so it also gets bits of a freer that has delivered and
// not yet published. That freer will still touch the slab: its count, its list link. If the slab
// was released meanwhile, the late push would land on memory in another life. debt counts such
// blocks; a slab may be released only when it is 0.
//
// Ownership may change at any moment. A freer may have read the old owner, so a slab can turn up on
// the list of a heap that no longer owns it; whoever drains that list forwards it, count untouched.
// REQUIRES of the heaps: a pending list is drained, and a slab's owner changed, only by whoever
// holds the heap (its thread, or the holder of a lock while it has none); a list that lost its last
// slab is still drained now and then, and its memory is never given up.
//
// Not here: forks (a delivery runs inside the freer's heap, and fork waits until every heap is at
// rest, so none is ever cut off in the middle: front/fork.cpp), outboxes, locks, the local bitmap,
// double-free reports. Everything is a template over the kind of memory it runs on, so that the
// tests explore every interleaving of this very code (remote_free_model_test.cpp), each memory
// order below proved necessary there.
//
// Sources: the list that is pushed one by one and taken whole is Treiber's stack (1986) without
// pop, hence without ABA. Per-slab remote state with "the first one links it" is mimalloc's delayed
// free (Leijen, Zorn, de Moura 2019) and snmalloc's message queues (Liétar et al. 2019), here with
// bitmaps.
//
// SPDX-License-Identifier: MIT
#ifndef METE_HEAP_REMOTE_FREE_HPP
#define METE_HEAP_REMOTE_FREE_HPP

#include "base/bits.hpp"
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mete::heap {

// The memory that programs run on. The tests put a modelled one in its place.
struct hardware_memory {
  template <class T>
  using atomic = std::atomic<T>;
  template <class T>
  using plain = T;
};

template <class Memory>
class pending_list;

// The part of a slab's descriptor that freers touch.
//
// Invariants, for one life of a slab, where a freer is under way from its delivery to its
// publishing:
//   blocks in remote words + debt == count + blocks of freers under way
//   debt >= 0 outside collect()
//   count == 0  <=>  nobody holds the slab's token, i.e. it is on no list and about to go on none
// Hence a slab with every block in its local bitmap (so none in remote words) and debt == 0 has
// count == 0 and no freer under way: nobody else will touch it, it may be released.
template <class Memory = hardware_memory>
struct remote_state {
  template <class T>
  using atomic = typename Memory::template atomic<T>;
  template <class T>
  using plain = typename Memory::template plain<T>;

  // Blocks published and not yet collected.
  atomic<std::uint32_t> count{0};
  // Blocks collected before they were published. Only the owner's.
  plain<std::int32_t> debt{0};
  // Where a freer pushes. Never null while a block of the slab lives.
  atomic<pending_list<Memory>*> owner{nullptr};
  // Link of the list it is on. Written by whoever moved count from 0 (or forwards), nobody else.
  plain<remote_state*> pending_next{nullptr};
};

static_assert(sizeof(remote_state<>) == 24, "three words of every slab descriptor");

// The slabs that wait for their owner. Any thread pushes, the heap's holder takes all. Lock-free.
template <class Memory = hardware_memory>
class pending_list {
public:
  using state = remote_state<Memory>;

  // REQUIRES: the caller holds the slab's token. Touches nothing of the slab after the push.
  void push(state& slab) {
    state* first = head_.load(std::memory_order_relaxed);
    do {
      slab.pending_next = first;
      // release: who takes the list must see the link just written.
    } while (!head_.compare_exchange_weak(first, &slab, std::memory_order_release,
                                          std::memory_order_relaxed));
  }

  // The whole list, last pushed first, linked by pending_next; null when there is none.
  state* take_all() {
    // A look first: most slow paths find nothing, and an exchange would claim the cache line.
    if (head_.load(std::memory_order_relaxed) == nullptr) {
      return nullptr;
    }
    // acquire: pairs with every push since the last take (they form one release sequence).
    return head_.exchange(nullptr, std::memory_order_acquire);
  }

  bool empty() const { return head_.load(std::memory_order_relaxed) == nullptr; }

  // For the tests, which label and watch it.
  auto& head() { return head_; }

private:
  typename Memory::template atomic<state*> head_{nullptr};
};

// Step 1 of a free: sets `bits` of one remote word. Returns those that were set already: blocks
// freed twice. The caller publishes only the others, or the debt is wrong for good.
template <class Word>
[[nodiscard]] std::uint64_t deliver(Word* words, std::size_t index, std::uint64_t bits) {
  // release: what the program did with the blocks is over before the owner hands them out again.
  return words[index].fetch_or(bits, std::memory_order_release) & bits;
}

// Step 2 of a free: announces `blocks` delivered blocks. Returns the list that the slab was pushed
// on (a caller may want to wake its drainer), or null when it was pending already.
// REQUIRES: blocks > 0, and every one delivered. The caller never touches the slab afterwards.
template <class Memory>
pending_list<Memory>* publish(remote_state<Memory>& slab, std::uint32_t blocks) {
  // release: who takes this count sees the bits delivered before it, and a release of the slab
  // comes after this access. acquire: pairs with collect(); the last drainer has read pending_next
  // before we write it.
  if (slab.count.fetch_add(blocks, std::memory_order_acq_rel) != 0) {
    return nullptr;
  }
  // acquire: the list was made before it became an owner. A stale owner is fine: he forwards.
  pending_list<Memory>* owner = slab.owner.load(std::memory_order_acquire);
  owner->push(slab);
  return owner;
}

// Moves all remote bits to `sink(word index, bits)`. Returns their number.
template <class Word, class Sink>
std::uint32_t take_bits(Word* words, std::size_t word_count, Sink&& sink) {
  std::uint32_t blocks = 0;
  for (std::size_t index = 0; index < word_count; ++index) {
    // A look first: most words are empty. What has been published is seen even by a relaxed load,
    // because collect() took the count with acquire.
    if (words[index].load(std::memory_order_relaxed) != 0) {
      // acquire: pairs with deliver(), also for bits that are not published yet.
      const std::uint64_t bits = words[index].exchange(0, std::memory_order_acquire);
      blocks += count_bits(bits);
      sink(index, bits);
    }
  }
  return blocks;
}

struct collected {
  std::uint32_t counts; // published blocks accounted for; 0 would be a slab without a token
  std::uint32_t blocks; // blocks handed to the sink
};

// Brings a slab's remote frees home: bits go to `sink(word index, bits)`, the debt is settled.
// REQUIRES: the caller owns the slab and has its token (drain() gives it).
template <class Memory, class Word, class Sink>
collected collect(remote_state<Memory>& slab, Word* words, std::size_t word_count, Sink&& sink) {
  // The count first: bits that come after it find the count 0 and push again. The other way round,
  // they would be counted here and stay behind in their word with nobody to fetch them.
  // acquire, release: see publish().
  const std::uint32_t counts = slab.count.exchange(0, std::memory_order_acq_rel);
  const std::uint32_t blocks = take_bits(words, word_count, sink);
  slab.debt = slab.debt + static_cast<std::int32_t>(blocks) - static_cast<std::int32_t>(counts);
  return {counts, blocks};
}

// Takes bits without a token, for an owner that wants blocks before it drains: legal at any time,
// the debt remembers it. REQUIRES: the caller owns the slab.
template <class Memory, class Word, class Sink>
std::uint32_t collect_early(remote_state<Memory>& slab, Word* words, std::size_t word_count,
                            Sink&& sink) {
  const std::uint32_t blocks = take_bits(words, word_count, sink);
  slab.debt = slab.debt + static_cast<std::int32_t>(blocks);
  return blocks;
}

// True when an empty slab may be released: no freer that was collected is still under way.
// REQUIRES: the caller owns the slab, and every block of it is in its local bitmap.
template <class Memory>
bool is_settled(const remote_state<Memory>& slab) {
  return slab.debt == 0;
}

// Calls visit(slab), which must collect() it and may then release it, for each slab of this heap
// among the next `limit` of `rest`, which was taken from `list`; forwards the others to their
// owners. To a freer, a slab of the rest is like one that is still on the list. Returns what is
// left of the limit. REQUIRES: the caller holds the heap of `list`. So "mine" cannot change under
// its hands.
template <class Memory, class Visit>
std::uint32_t drain(pending_list<Memory>& list, remote_state<Memory>*& rest, std::uint32_t limit,
                    Visit&& visit) {
  for (; rest != nullptr && limit != 0; --limit) {
    remote_state<Memory>* slab = rest;
    // Before anything else: once collected or forwarded, the link belongs to the next pusher.
    rest = slab->pending_next;
    __builtin_prefetch(rest, 1); // the freer's cache has it
    pending_list<Memory>* owner = slab->owner.load(std::memory_order_acquire);
    if (owner == &list) {
      visit(*slab);
    } else {
      owner->push(*slab);
    }
  }
  return limit;
}

// The whole list at once.
template <class Memory, class Visit>
void drain(pending_list<Memory>& list, Visit&& visit) {
  remote_state<Memory>* rest = list.take_all();
  drain(list, rest, UINT32_MAX, visit);
}

// Gives a slab to the heap of `list`; whatever is pending follows by forwarding.
// REQUIRES: the caller holds both heaps, or holds the old one and hands the slab to the new one's
// holder by something that synchronises. debt moves with the slab.
template <class Memory>
void change_owner(remote_state<Memory>& slab, pending_list<Memory>& list) {
  // release: the list is complete before a freer can find it.
  slab.owner.store(&list, std::memory_order_release);
}

} // namespace mete::heap

#endif
