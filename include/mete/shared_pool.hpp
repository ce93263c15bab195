// shared_pool: many blocks of one size, for many threads; any thread may free what another one got.
//
// Basic design (J. Bonwick and J. Adams, Magazines and Vmem, 2001). A magazine is an array of
// pointers to free blocks. Each thread has two, from which it takes and into which it frees without
// asking anybody. When both are empty it exchanges an empty one for a full one at the depot, and
// when both are full the other way round: at worst one visit for each magazine of blocks, however
// the calls are mixed. At the depot only pointers to whole magazines change hands, under a lock
// that is held for a few instructions. Fresh blocks come from chunks, as in pool (pool.hpp).
//
//   mete::shared_pool messages({.name = "messages", .block_bytes = 256});
//   void* message = messages.allocate(256);      // by one thread
//   messages.deallocate(message, 256);           // by any other
//
// A thread finds its magazines by detail/thread_caches.hpp; at its end they go to the depot. What
// threads keep is bounded: two magazines each.
//
// Thread safety: everything may be called from any thread at any time, the constructor and the
// destructor excepted. The source is asked by one thread at a time.
//
// SPDX-License-Identifier: MIT
#ifndef METE_SHARED_POOL_HPP
#define METE_SHARED_POOL_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/detail/annotate.hpp>
#include <mete/detail/arithmetic.hpp>
#include <mete/detail/chunk_table.hpp>
#include <mete/detail/thread_caches.hpp>
#include <mete/source.hpp>

namespace mete {

struct shared_pool_options {
  const char* name = "shared_pool";
  source* upstream = nullptr;   // nullptr: default_source()
  std::size_t block_bytes = 64; // no request may be larger
  std::size_t alignment = default_alignment;
  std::size_t magazine_blocks = 0;       // 0: 64 KiB in all, but at least 4 and at most 128 blocks
  std::size_t first_chunk_bytes = 16384; // acquired at the first allocation, not before
  std::size_t max_chunk_bytes = 1024 * 1024; // growth stops doubling here
};

class shared_pool : public allocator_base<shared_pool>, private detail::cache_owner {
public:
  using options = shared_pool_options;

  // Acquires nothing yet. Options that cannot be make a pool that has nothing to give.
  explicit shared_pool(const options& with = {}) noexcept
      : allocator_base(with.name), alignment_(std::max(with.alignment, alignof(link))),
        block_bytes_(rounded(with.block_bytes, with.alignment)),
        magazine_blocks_(blocks_per_magazine(with.magazine_blocks, block_bytes_)),
        upstream_(with.upstream != nullptr ? *with.upstream : default_source()),
        first_chunk_bytes_(std::max(with.first_chunk_bytes, block_bytes_)),
        max_chunk_bytes_(std::max(with.max_chunk_bytes, first_chunk_bytes_)),
        next_chunk_bytes_(first_chunk_bytes_) {}
  ~shared_pool() override {
    leave_threads();
    for (const detail::chunk_table::chunk& each : chunks_.all())
      upstream_.release(each.memory, alignment_);
    chunks_.clear(upstream_);
    release_magazines(full_);
    release_magazines(empty_);
    release_caches(caches_);
    release_caches(idle_caches_);
  }

  // O(1), but for the source when all blocks live. nullptr if that has no more, or size or
  // alignment are more than the pool's. Once in a magazine of blocks it takes a lock.
  [[nodiscard]] void* try_allocate(std::size_t size,
                                   std::size_t alignment = default_alignment) noexcept {
    if (!fits(size, alignment)) [[unlikely]]
      return nullptr;
    if (detail::annotating()) [[unlikely]]
      return allocate_and_tell(size);
    return take();
  }

  // O(1), and once in a magazine of blocks a lock. What costs nothing to see is reported: an
  // address outside all chunks, and the block that this thread freed just before.
  void deallocate(void* block, std::size_t = 0, std::size_t = 0) noexcept {
    check_range(block);
    if (detail::annotating()) [[unlikely]]
      detail::unusable(block, block_bytes_);
    put(block);
  }

  // Fills `blocks` from its begin, and returns how many there were to give. O(that).
  [[nodiscard]] std::size_t try_allocate_many(std::span<void*> blocks, std::size_t size,
                                              std::size_t alignment = default_alignment) noexcept {
    if (!fits(size, alignment))
      return 0;
    std::size_t given = 0;
    while (given != blocks.size()) {
      void* const block = take();
      if (block == nullptr)
        break;
      detail::usable(block, size);
      blocks[given++] = block;
    }
    return given;
  }

  // O(blocks).
  void deallocate_many(std::span<void* const> blocks) noexcept {
    for (void* const each : blocks)
      deallocate(each);
  }

  // Brings what this thread keeps to the depot, for a thread that will not use the pool for long.
  // O(a magazine of blocks).
  void flush_this_thread() noexcept {
    auto* const mine = static_cast<cache*>(find_cache());
    if (mine == nullptr)
      return;
    const std::lock_guard locked(mutex_);
    flush(*mine);
  }

  // Gives the chunks back in which nothing lives, and empty magazines. What other threads keep in
  // theirs counts as living. O(free blocks * log(chunks)), during which others wait at the depot.
  void trim() noexcept;

  // Whether the address is that of a block, free or not. O(log(chunks)), and a lock.
  [[nodiscard]] bool owns(const void* block) const noexcept {
    const std::lock_guard locked(mutex_);
    return is_block(block);
  }

  // How many blocks live. O(threads), and a lock; exact while no thread allocates or frees.
  [[nodiscard]] std::size_t live_blocks() const noexcept {
    const std::lock_guard locked(mutex_);
    return count_live();
  }

  // With what rounding adds.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }
  // Of these a thread keeps at most twice as many.
  [[nodiscard]] std::size_t magazine_blocks() const noexcept { return magazine_blocks_; }

  // O(threads), and a lock; exact while no thread allocates or frees. The peak counts what threads
  // kept in their magazines.
  [[nodiscard]] allocator_usage usage() const noexcept {
    const std::lock_guard locked(mutex_);
    const std::size_t live = count_live();
    // Counted while others went on, it may be a little too high.
    return {live * block_bytes_, reserved_bytes_, std::max(peak_blocks_, live) * block_bytes_, 0};
  }

  // What is wrong inside, or nullptr. O(free blocks * log(chunks)). REQUIRES: no thread allocates
  // or frees.
  [[nodiscard]] const char* check_invariants() const noexcept;

private:
  struct link {
    link* next;
  };

  // Its pointers lie right behind it. `next` is also what stands before the first of them.
  struct magazine {
    std::size_t acquired_bytes;
    magazine* next;

    void** blocks() noexcept { return reinterpret_cast<void**>(this + 1); }
  };

  // What a thread keeps. Others read the counts only. On lines of its own.
  struct alignas(64) cache {
    std::atomic<std::uint32_t> count{0}; // of loaded
    std::uint32_t capacity = 0;
    void** blocks = nullptr; // of loaded
    magazine* loaded = nullptr;
    magazine* previous = nullptr;                 // full or empty
    std::atomic<std::uint32_t> previous_count{0}; //
    cache* next = nullptr;                        // in caches_ or idle_caches_
    cache* before = nullptr;                      // in caches_
    std::size_t acquired_bytes = 0;

    std::size_t kept() const noexcept {
      return count.load(std::memory_order_relaxed) +
             std::size_t{previous_count.load(std::memory_order_relaxed)};
    }
    void load(magazine* next_loaded, std::uint32_t next_count) noexcept {
      loaded = next_loaded;
      blocks = next_loaded->blocks();
      count.store(next_count, std::memory_order_relaxed);
    }
    void swap() noexcept {
      magazine* const was = std::exchange(previous, loaded);
      const std::uint32_t was_count = previous_count.load(std::memory_order_relaxed);
      previous_count.store(count.load(std::memory_order_relaxed), std::memory_order_relaxed);
      load(was, was_count);
    }
  };

  // 0: such blocks cannot be.
  static std::size_t rounded(std::size_t block_bytes, std::size_t alignment) noexcept {
    std::size_t bytes = 0;
    if (!detail::is_power_of_two(alignment) ||
        !detail::round_up(std::max(block_bytes, sizeof(link)), std::max(alignment, alignof(link)),
                          bytes))
      return 0;
    return bytes;
  }
  static std::uint32_t blocks_per_magazine(std::size_t wanted, std::size_t block_bytes) noexcept {
    const std::size_t by_size = 65536 / std::max(block_bytes, std::size_t{1});
    const std::size_t blocks =
        wanted == 0 ? std::clamp(by_size, std::size_t{4}, std::size_t{128}) : wanted;
    return static_cast<std::uint32_t>(std::clamp(blocks, std::size_t{1}, std::size_t{65536}));
  }
  std::size_t magazine_bytes() const noexcept {
    return sizeof(magazine) + magazine_blocks_ * sizeof(void*);
  }

  bool fits(std::size_t size, std::size_t alignment) const noexcept {
    return size <= block_bytes_ && alignment <= alignment_ && detail::is_power_of_two(alignment);
  }

  void* take() noexcept {
    auto* const mine = static_cast<cache*>(recent_cache());
    if (mine == nullptr) [[unlikely]]
      return take_slow();
    const std::uint32_t count = mine->count.load(std::memory_order_relaxed);
    if (count == 0) [[unlikely]]
      return take_slow();
    mine->count.store(count - 1, std::memory_order_relaxed);
    return mine->blocks[count - 1];
  }
  void put(void* block) noexcept {
    auto* const mine = static_cast<cache*>(recent_cache());
    if (mine == nullptr) [[unlikely]]
      return put_slow(block);
    const std::uint32_t count = mine->count.load(std::memory_order_relaxed);
    void** const end = mine->blocks + count;
    if (end[-1] == block) [[unlikely]] // of an empty magazine: its `next`, which is no block
      report_double(block);
    if (count == mine->capacity) [[unlikely]]
      return put_slow(block);
    *end = block;
    mine->count.store(count + 1, std::memory_order_relaxed);
  }

  [[gnu::noinline]] void* allocate_and_tell(std::size_t size) noexcept {
    void* const block = take();
    if (block != nullptr)
      detail::usable(block, size);
    return block;
  }

  // This thread's, made if need be; nullptr: it must do without.
  cache* this_cache() noexcept {
    auto* mine = static_cast<cache*>(find_cache());
    if (mine == nullptr && reserve_cache()) {
      const std::lock_guard locked(mutex_);
      mine = add_cache();
      if (mine != nullptr)
        set_cache(mine);
    }
    return mine;
  }

  [[gnu::noinline]] void* take_slow() noexcept {
    cache* const mine = this_cache();
    if (mine == nullptr) {
      const std::lock_guard locked(mutex_);
      void* block = nullptr;
      take_loose({&block, 1});
      return block;
    }
    if (mine->count.load(std::memory_order_relaxed) == 0) {
      mine->swap();
      if (mine->count.load(std::memory_order_relaxed) == 0 && !refill(*mine))
        return nullptr;
    }
    return take();
  }

  [[gnu::noinline]] void put_slow(void* block) noexcept {
    cache* const mine = this_cache();
    if (mine != nullptr && mine->count.load(std::memory_order_relaxed) == magazine_blocks_)
      mine->swap();
    if (mine != nullptr &&
        (mine->count.load(std::memory_order_relaxed) != magazine_blocks_ || unload(*mine)))
      return put(block);
    const std::lock_guard locked(mutex_);
    put_loose(block);
  }

  // An empty magazine for a full one. False: there are no blocks.
  // REQUIRES: both magazines are empty.
  bool refill(cache& mine) noexcept {
    const std::lock_guard locked(mutex_);
    std::uint32_t count = magazine_blocks_;
    if (full_ != nullptr) {
      push(empty_, mine.loaded);
      mine.load(pop(full_), count);
      --full_magazines_;
    } else {
      count = static_cast<std::uint32_t>(take_loose({mine.blocks, magazine_blocks_}));
      mine.count.store(count, std::memory_order_relaxed);
    }
    note_peak();
    return count != 0;
  }

  // A full magazine for an empty one. False: there is none.
  // REQUIRES: both magazines are full.
  bool unload(cache& mine) noexcept {
    const std::lock_guard locked(mutex_);
    magazine* const empty = take_empty();
    if (empty == nullptr)
      return false;
    push(full_, mine.previous);
    ++full_magazines_;
    mine.previous = mine.loaded;
    mine.load(empty, 0);
    return true;
  }

  // What follows is done under the lock.

  static void push(magazine*& list, magazine* added) noexcept {
    added->next = list;
    list = added;
  }
  static magazine* pop(magazine*& list) noexcept {
    magazine* const first = list;
    list = first->next;
    first->next = nullptr;
    return first;
  }

  magazine* take_empty() noexcept {
    if (empty_ != nullptr)
      return pop(empty_);
    const std::span<std::byte> memory = upstream_.acquire(magazine_bytes(), alignof(magazine));
    return memory.empty() ? nullptr : new (memory.data()) magazine{memory.size(), nullptr};
  }

  // All blocks go to the depot, one by one: the magazines stay.
  void flush(cache& mine) noexcept {
    for (int each = 0; each < 2; ++each) {
      const std::uint32_t count = mine.count.load(std::memory_order_relaxed);
      for (std::uint32_t at = 0; at < count; ++at)
        put_loose(mine.blocks[at]);
      mine.count.store(0, std::memory_order_relaxed);
      mine.swap();
    }
  }

  void thread_ended(void* gone) noexcept override {
    const std::lock_guard locked(mutex_);
    auto& mine = *static_cast<cache*>(gone);
    flush(mine);
    (mine.before != nullptr ? mine.before->next : caches_) = mine.next;
    if (mine.next != nullptr)
      mine.next->before = mine.before;
    mine.next = idle_caches_;
    idle_caches_ = &mine;
  }

  cache* add_cache() noexcept {
    cache* added = idle_caches_;
    if (added != nullptr)
      idle_caches_ = added->next;
    else
      added = acquire_cache();
    if (added == nullptr)
      return nullptr;
    added->before = nullptr;
    added->next = caches_;
    if (caches_ != nullptr)
      caches_->before = added;
    caches_ = added;
    return added;
  }
  cache* acquire_cache() noexcept {
    magazine* const loaded = take_empty();
    magazine* const previous = loaded != nullptr ? take_empty() : nullptr;
    std::span<std::byte> memory;
    if (previous != nullptr)
      memory = upstream_.acquire(sizeof(cache), alignof(cache));
    if (memory.empty()) {
      for (magazine* const each : {loaded, previous})
        if (each != nullptr)
          push(empty_, each);
      return nullptr;
    }
    auto* const added = new (memory.data()) cache;
    added->capacity = magazine_blocks_;
    added->acquired_bytes = memory.size();
    added->previous = previous;
    added->load(loaded, 0);
    return added;
  }

  void release_magazines(magazine*& list) noexcept {
    while (list != nullptr) {
      magazine* const gone = pop(list);
      upstream_.release({reinterpret_cast<std::byte*>(gone), gone->acquired_bytes},
                        alignof(magazine));
    }
  }
  void release_caches(cache*& list) noexcept {
    while (cache* const gone = list) {
      list = gone->next;
      push(empty_, gone->loaded);
      push(empty_, gone->previous);
      release_magazines(empty_);
      upstream_.release({reinterpret_cast<std::byte*>(gone), gone->acquired_bytes}, alignof(cache));
    }
  }

  // Blocks in no magazine form a list through themselves.
  void put_loose(void* block) noexcept {
    detail::own(block, sizeof(link));
    loose_ = new (block) link{loose_};
    ++loose_blocks_;
    detail::unusable(block, block_bytes_);
  }
  static link* next_of(link* block) noexcept {
    detail::own(block, sizeof(link));
    link* const next = block->next;
    detail::unusable(block, sizeof(link));
    return next;
  }

  // As many as there are: from the list, from full magazines, from the frontier. Those with lower
  // addresses last, from where they are taken first.
  std::size_t take_loose(std::span<void*> blocks) noexcept {
    std::size_t count = 0;
    if (loose_ == nullptr && full_ != nullptr)
      open_magazine();
    for (; count != blocks.size() && loose_ != nullptr; ++count, --loose_blocks_) {
      blocks[count] = loose_;
      loose_ = next_of(loose_);
    }
    if (count == 0) {
      count = std::min(blocks.size(), fresh_blocks());
      for (std::size_t at = count; at-- != 0; cursor_ += block_bytes_)
        blocks[at] = cursor_;
    }
    note_peak();
    return count;
  }
  void open_magazine() noexcept {
    magazine* const opened = pop(full_);
    --full_magazines_;
    for (std::uint32_t at = 0; at < magazine_blocks_; ++at)
      put_loose(opened->blocks()[at]);
    push(empty_, opened);
  }

  // How many the frontier has, after a try to have some.
  std::size_t fresh_blocks() noexcept {
    if (cursor_ == end_ && !acquire_chunk())
      return 0;
    return static_cast<std::size_t>(end_ - cursor_) / block_bytes_;
  }

  // Blocks that the frontier has passed.
  std::size_t taken_here() const noexcept {
    return cursor_ == begin_ ? 0 : static_cast<std::size_t>(cursor_ - begin_) / block_bytes_;
  }
  std::size_t taken_blocks() const noexcept { return taken_before_ + taken_here(); }
  std::size_t taken_in(const detail::chunk_table::chunk& of) const noexcept {
    return of.memory.data() == begin_ ? taken_here() : of.memory.size() / block_bytes_;
  }

  std::size_t depot_blocks() const noexcept {
    return full_magazines_ * magazine_blocks_ + loose_blocks_;
  }
  void note_peak() noexcept {
    peak_blocks_ = std::max(peak_blocks_, taken_blocks() - depot_blocks());
  }
  std::size_t count_live() const noexcept {
    std::size_t kept = 0;
    for (const cache* each = caches_; each != nullptr; each = each->next)
      kept += each->kept();
    const std::size_t out = taken_blocks() - depot_blocks();
    return out - std::min(out, kept); // a thread may be between two of its counts
  }

  bool is_block(const void* block) const noexcept {
    const detail::chunk_table::chunk* const in = chunks_.find(block);
    if (in == nullptr)
      return false;
    const std::size_t offset = detail::address_of(block) - detail::address_of(in->memory.data());
    return offset % block_bytes_ == 0 && offset / block_bytes_ < in->memory.size() / block_bytes_;
  }

  // REQUIRES: the frontier has passed all chunks.
  bool acquire_chunk() noexcept {
    if (block_bytes_ == 0 || !chunks_.reserve_one(upstream_))
      return false;
    std::span<std::byte> memory = upstream_.acquire(next_chunk_bytes_, alignment_);
    if (memory.empty() && next_chunk_bytes_ > block_bytes_)
      memory = upstream_.acquire(block_bytes_, alignment_); // less is better than nothing
    if (memory.empty())
      return false;
    next_chunk_bytes_ += std::min(next_chunk_bytes_, max_chunk_bytes_ - next_chunk_bytes_);
    taken_before_ += taken_here();
    begin_ = cursor_ = memory.data();
    end_ = begin_ + memory.size() / block_bytes_ * block_bytes_;
    detail::unusable(memory.data(), memory.size());
    chunks_.insert(memory);
    reserved_bytes_ += memory.size();
    // Relaxed: whoever has a block has it from somebody who came here before.
    const std::uintptr_t begin = detail::address_of(memory.data());
    low_.store(std::min(low_.load(std::memory_order_relaxed), begin), std::memory_order_relaxed);
    high_.store(std::max(high_.load(std::memory_order_relaxed), begin + memory.size()),
                std::memory_order_relaxed);
    return true;
  }

  // Until here.

  void check_range(const void* block) const noexcept {
    const std::uintptr_t at = detail::address_of(block);
    if (at < low_.load(std::memory_order_relaxed) || at >= high_.load(std::memory_order_relaxed))
        [[unlikely]]
      report_foreign(block);
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_foreign(const void* block) const noexcept {
    report_misuse("foreign free", block, "it is not of this pool");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void report_double(const void* block) const noexcept {
    report_misuse("double free", block, "this thread freed it just before");
  }

  // Read by all threads, written seldom or never.
  const std::size_t alignment_;
  const std::size_t block_bytes_;
  const std::uint32_t magazine_blocks_;
  std::atomic<std::uintptr_t> low_{UINTPTR_MAX}; // all chunks that there were lie from here
  std::atomic<std::uintptr_t> high_{0};          // to here
  source& upstream_;

  // The depot, on lines of its own. Invariants: of all blocks that the frontier has passed, each is
  // in one of the full_magazines_ in full_, or in the list of loose_blocks_, or in a magazine of
  // one of the caches_, or lives. Magazines in empty_ and those of idle_caches_ are empty. The
  // frontier is cursor_, in the chunk from begin_ whose blocks end at end_. What is free, behind
  // the frontier or not, is declared unusable.
  alignas(64) mutable std::mutex mutex_;
  magazine* full_ = nullptr;
  magazine* empty_ = nullptr;
  std::size_t full_magazines_ = 0;
  link* loose_ = nullptr;
  std::size_t loose_blocks_ = 0;
  std::byte* cursor_ = nullptr;
  std::byte* end_ = nullptr;
  std::byte* begin_ = nullptr;
  std::size_t taken_before_ = 0; // in the other chunks
  std::size_t peak_blocks_ = 0;
  std::size_t reserved_bytes_ = 0;
  cache* caches_ = nullptr; // of the threads
  cache* idle_caches_ = nullptr;
  const std::size_t first_chunk_bytes_;
  const std::size_t max_chunk_bytes_;
  std::size_t next_chunk_bytes_;
  detail::chunk_table chunks_;
};

inline void shared_pool::trim() noexcept {
  flush_this_thread();
  const std::lock_guard locked(mutex_);
  while (full_ != nullptr)
    open_magazine();
  for (detail::chunk_table::chunk& each : chunks_.all())
    each.free_blocks = 0;
  for (link* each = loose_; each != nullptr; each = next_of(each))
    ++chunks_.find(each)->free_blocks;
  const auto nothing_lives_in = [this](const detail::chunk_table::chunk& each) {
    return each.free_blocks == taken_in(each);
  };
  link* each = std::exchange(loose_, nullptr);
  loose_blocks_ = 0;
  while (each != nullptr) {
    link* const next = next_of(each);
    if (!nothing_lives_in(*chunks_.find(each)))
      put_loose(each);
    each = next;
  }
  chunks_.erase_if([&](const detail::chunk_table::chunk& gone) {
    if (!nothing_lives_in(gone))
      return false;
    if (gone.memory.data() != begin_)
      taken_before_ -= taken_in(gone);
    else
      begin_ = cursor_ = end_ = nullptr;
    reserved_bytes_ -= gone.memory.size();
    upstream_.release(gone.memory, alignment_);
    return true;
  });
  release_caches(idle_caches_);
  release_magazines(empty_);
  if (chunks_.all().empty()) {
    chunks_.clear(upstream_);
    next_chunk_bytes_ = first_chunk_bytes_;
  }
}

inline const char* shared_pool::check_invariants() const noexcept {
  const std::lock_guard locked(mutex_);
  std::size_t loose = 0;
  for (link* each = loose_; each != nullptr; each = next_of(each), ++loose)
    if (!is_block(each) || loose == loose_blocks_)
      return "the list of loose blocks leads astray";
  std::size_t full = 0;
  for (magazine* each = full_; each != nullptr; each = each->next, ++full)
    for (std::uint32_t at = 0; at < magazine_blocks_; ++at)
      if (!is_block(each->blocks()[at]))
        return "a magazine has what is no block";
  if (loose != loose_blocks_ || full != full_magazines_)
    return "the depot has lost count";
  std::size_t kept = 0;
  for (const cache* each = caches_; each != nullptr; each = each->next) {
    const std::uint32_t previous = each->previous_count.load(std::memory_order_relaxed);
    if (previous != 0 && previous != magazine_blocks_)
      return "a thread's second magazine is neither full nor empty";
    kept += each->kept();
  }
  for (const cache* each = idle_caches_; each != nullptr; each = each->next)
    if (each->kept() != 0)
      return "a thread that has ended keeps blocks";
  std::size_t taken = 0;
  std::size_t bytes = 0;
  for (const detail::chunk_table::chunk& each : chunks_.all()) {
    taken += taken_in(each);
    bytes += each.memory.size();
  }
  if (taken != taken_blocks() || bytes != reserved_bytes_ || kept + depot_blocks() > taken)
    return "blocks are miscounted";
  return nullptr;
}

} // namespace mete

#endif
