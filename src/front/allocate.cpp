// SPDX-License-Identifier: MIT
#include "front/allocate.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "front/deferred_work.hpp"
#include "front/emergency.hpp"
#include "front/explicit_heap.hpp"
#include "front/fork.hpp"
#include "front/gate.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "front/on_cpu.hpp"
#include "front/thread.hpp"
#include "heap/big.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "heap/suspect.hpp"
#include "os/memory.hpp"
#include "os/thread.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace mete::front {
namespace {

[[gnu::cold]] void* out_of_memory() {
  errno = ENOMEM;
  return nullptr;
}

// For a thread that may not pass the gate.
[[gnu::cold, gnu::noinline]] void* allocate_without_gate(std::size_t size, std::size_t alignment) {
  void* const block = allocate_emergency(size, alignment);
  return block != nullptr ? block : out_of_memory();
}

// Aligned as blocks of the class are: allocate_aligned() takes that for granted. And clear behind
// the class's bytes, because allocate_zeroed() clears no more.
[[gnu::cold, gnu::noinline]] void* allocate_class_without_gate(unsigned class_index) {
  const std::size_t bytes = heap::size_classes[class_index].block_bytes;
  void* const block = allocate_without_gate(bytes, bytes & -bytes);
  if (block != nullptr)
    std::memset(static_cast<char*>(block) + bytes, 0, emergency_bytes("", block) - bytes);
  return block;
}

// Such a thread's ordinary block, which is freed later.
[[gnu::cold, gnu::noinline]] void deallocate_without_gate(void* block) {
  defer([](void* put_off) { deallocate(put_off); }, block);
}
[[gnu::cold, gnu::noinline]] void deallocate_small_without_gate(void* block) {
  deallocate_without_gate(heap::remove_mark(block)); // it is marked when it is freed
}

// What address, tag and mark alone do not say to be a live block in a slab: reports it if it is
// none. False if that is forgiven.
[[gnu::noinline]] bool require_live(const heap::use_of_block& use, const void* block) {
  if (heap::looks_live_closely(block)) [[likely]]
    return true;
  gate_pass inside;
  return heap::settle_suspect(use, block, static_cast<bool>(inside));
}

// A thread that vanished in a fork may have been about to take a stack that glibc kept: then it had
// freed some of the blocks that belong to that, and the child's glibc frees them all.
bool is_freed_for_vanished_thread() {
  return threads_vanished() &&
         (os::is_c_library_code(freed_from) || os::loader_code.contains(freed_from));
}

constexpr heap::use_of_block use_free{"invalid free", "double free", is_freed_for_vanished_thread};

// --- Allocating -------------------------------------------------------------------------------

// For threads without a heap: straight from the shared one.
[[gnu::cold]] void* allocate_shared(unsigned class_index) {
  gate_pass inside;
  if (!inside)
    return allocate_class_without_gate(class_index);
  initialise();
  shared_heap_guard shared;
  void* block = nullptr;
  unsigned fresh_from = 0;
  if (shared.get() == nullptr || shared.get()->take(class_index, &block, 1, fresh_from) == 0)
    return out_of_memory();
  return block;
}

// The second and last attempt, when the OS has refused memory.
[[gnu::cold]] void* retry_class(heap::heap& h, unsigned class_index) {
  if (!relieve(heap::size_classes[class_index].block_bytes))
    return out_of_memory();
  if (!gate::enter_heap(h)) [[unlikely]]
    return allocate_class_without_gate(class_index);
  own_heap_guard inside(h);
  void* const block = heap::refill(h, heap::this_thread, class_index);
  return block != nullptr ? block : out_of_memory();
}

// The processor's cache had none, or is not known to this thread yet.
void* allocate_class_on_cpu(unsigned class_index) {
  void* block = refill_on_cpu(class_index);
  if (block == nullptr && relieve(heap::size_classes[class_index].block_bytes)) [[unlikely]]
    block = refill_on_cpu(class_index);
  return block != nullptr ? block : allocate_shared(class_index);
}

// Not inline: the two slow paths below stay short for threads that use their processor's cache.
[[gnu::noinline]] void* allocate_class(unsigned class_index) {
  heap::cache_bin& bin = heap::this_thread.bins[class_index];
  if (*bin.top != nullptr) // size 0 comes here, too
    return *bin.top--;
  heap::heap* const h = own_heap();
  if (h == nullptr) [[unlikely]]
    return is_on_cpu() ? allocate_class_on_cpu(class_index) : allocate_shared(class_index);
  void* block = nullptr;
  bool due = false;
  {
    if (!gate::enter_heap(*h)) [[unlikely]]
      return allocate_class_without_gate(class_index);
    own_heap_guard inside(*h);
    block = heap::refill(*h, heap::this_thread, class_index);
    due = count_slow_path(*h, slow_path::allocation);
  }
  if (due) [[unlikely]]
    tick(*h);
  if (block == nullptr) [[unlikely]]
    return retry_class(*h, class_index);
  return block;
}

page::grant try_big(std::size_t size, std::size_t alignment) {
  gate_pass inside;
  if (!inside) [[unlikely]]
    return {static_cast<char*>(allocate_without_gate(size, alignment)), false};
  initialise();
  return heap::allocate_big(size, alignment);
}

page::grant allocate_big(std::size_t size, std::size_t alignment) {
  if (size > PTRDIFF_MAX)
    return {};
  const page::grant result = try_big(size, alignment);
  if (result.begin == nullptr && relieve(size)) [[unlikely]]
    return try_big(size, alignment);
  after_big_allocation(size);
  return result;
}

// Out of line, so that what comes before it needs no stack frame.
[[gnu::noinline]] void* allocate_slow(std::size_t size) {
  if (size <= heap::max_slab_block_bytes) [[likely]] {
    const unsigned class_index = heap::class_of(size == 0 ? 1 : size);
    if (is_on_cpu())
      if (void* const block = heap::pop_on_cpu(class_index); block != nullptr)
        return heap::remove_mark(block);
    return heap::remove_mark(allocate_class(class_index));
  }
  const page::grant result = allocate_big(size, 1);
  return result.begin != nullptr ? result.begin : out_of_memory();
}

// A block of 1 to 32 KiB, if the thread's cache has one; otherwise nullptr.
inline void* pop_coarse(std::size_t size) {
  const std::size_t step = (size - heap::max_table_bytes - 1) / heap::coarse_step_bytes;
  const bool known = step < heap::coarse_bin_offset_table.size(); // not if size is smaller, or 0
  return known ? pop(heap::coarse_bin_offset_table[step]) : nullptr;
}

// A slab's block for calloc, of which the thread's cache had none.
void* allocate_zeroed_in_slab(std::size_t size) {
  const unsigned class_index = heap::class_of(size);
  heap::heap* const h = own_heap();
  bool zeroed = false;
  void* block = nullptr;
  if (h == nullptr) [[unlikely]] {
    block =
        is_on_cpu() ? refill_on_cpu_for_calloc(class_index, zeroed) : allocate_shared(class_index);
  } else {
    bool due = false;
    if (gate::enter_heap(*h)) [[likely]] {
      own_heap_guard inside(*h);
      block = heap::take_for_calloc(*h, heap::this_thread, class_index, zeroed);
      due = count_slow_path(*h, slow_path::allocation);
    }
    if (due) [[unlikely]]
      tick(*h);
  }
  if (block == nullptr) [[unlikely]] // allocate() knows how to make room
    block = allocate(size);
  if (block == nullptr)
    return out_of_memory();
  return zeroed ? heap::remove_mark(block)
                : std::memset(block, 0, heap::size_classes[class_index].block_bytes);
}

// Out of line, so that the common way saves fewer registers.
[[gnu::noinline]] void* allocate_zeroed_slow(std::size_t size) {
  if (size <= heap::max_slab_block_bytes)
    return allocate_zeroed_in_slab(size);
  const page::grant result = allocate_big(size, 1);
  if (result.begin == nullptr)
    return out_of_memory();
  return result.zeroed ? result.begin : std::memset(result.begin, 0, usable_size(result.begin));
}

// --- Freeing ----------------------------------------------------------------------------------

// In a thread that can have no heap.
[[gnu::cold]] void deallocate_shared(void* block, std::uint32_t tag) {
  gate_pass inside;
  if (!inside)
    return deallocate_small_without_gate(block);
  shared_heap_guard shared;
  if (heap::heap* const h = shared.get(); h != nullptr)
    h->put_remote(tag, block);
  // else there is no memory for a heap: the block is lost, as little as it is
}

// A block of a shared heap goes home at once: nothing of it may be left elsewhere when the heap is
// destroyed.
[[gnu::noinline]] void deallocate_in_shared(void* block, std::uint32_t tag) {
  heap::heap* const h = heap::shared_heap_of(tag);
  if (h == nullptr) [[unlikely]]
    heap::report_no_block("invalid free", block);
  tick_result ticked;
  {
    gate_pass inside;
    if (!inside) [[unlikely]]
      return deallocate_small_without_gate(block);
    lock_guard guard(*h->shared_lock);
    // Its slab can have gone meanwhile if the block was freed before.
    if (!h->owns(page::locate(block).tag->load(std::memory_order_relaxed))) [[unlikely]]
      heap::report_no_block("double free", block);
    h->put(block);
    if (count_slow_path(*h, slow_path::free)) [[unlikely]]
      ticked = tick_shared(*h);
  }
  if (ticked.heap != nullptr) [[unlikely]]
    finish_tick(ticked);
}

[[gnu::noinline]] void deallocate_own(heap::heap& h, void* block, std::uint32_t tag) {
  bool due = false;
  {
    if (!gate::enter_heap(h)) [[unlikely]]
      return deallocate_small_without_gate(block);
    own_heap_guard inside(h);
    heap::overflow(h, heap::this_thread, heap::class_of_tag(tag), block);
    due = count_slow_path(h, slow_path::free);
  }
  if (due) [[unlikely]]
    tick(h);
}

// Many foreign blocks were freed since the last time, in number or in size. Leaves the heap.
// REQUIRES: the thread is inside of it.
[[gnu::noinline]] void leave_after_many_foreign(heap::heap& h) {
  bool due = false;
  {
    own_heap_guard inside(h);
    h.deliver_full_outbox();
    due = count_slow_path(h, slow_path::free);
  }
  if (due)
    tick(h);
}

// Out of line, like those around it: so deallocate_slow() saves no registers. It counts its calls
// by the dozen, because it does little else. What is full is delivered before the heap is left:
// the gate could close in between, and the next block find no room.
// REQUIRES: `h` is the calling thread's; the block is not a shared heap's.
[[gnu::noinline]] void deallocate_foreign(heap::heap& h, void* block, std::uint32_t tag) {
  if (!gate::enter_heap(h)) [[unlikely]]
    return deallocate_small_without_gate(block);
  if (h.add_remote(tag, block)) [[unlikely]]
    return leave_after_many_foreign(h);
  h.lock.leave();
}

[[gnu::noinline]] void deallocate_without_heap(void* block, std::uint32_t tag) {
  if ((tag & heap::tag_shared) != 0) [[unlikely]]
    return deallocate_in_shared(block, tag);
  if (is_on_cpu()) {
    if (tag >= heap::first_cpu_tag && heap::push_on_cpu(heap::class_of_tag(tag), block))
      return;
    if (overflow_on_cpu(block, tag))
      return;
  }
  heap::heap* const h = own_heap();
  if (h == nullptr) [[unlikely]]
    return deallocate_shared(block, tag);
  if (h->owns(tag))
    deallocate_own(*h, block, tag);
  else
    deallocate_foreign(*h, block, tag);
}

// A block in a slab, which was live until now. Where threads exchange blocks, every free comes
// here.
inline void deallocate_in_slab(void* block, std::uint32_t tag, std::uintptr_t mark) {
  heap::mark_freed(block, mark);
  heap::thread_state& thread = heap::this_thread;
  if (thread.owned == nullptr) [[unlikely]]
    return deallocate_without_heap(block, tag);
  heap::heap& h = *thread.owned;
  if ((tag ^ thread.tag) >= heap::tag_class_end) {
    if ((tag & heap::tag_shared) != 0) [[unlikely]]
      return deallocate_in_shared(block, tag);
    if (!heap::keep_foreign(h, thread, tag, block))
      deallocate_foreign(h, block, tag);
    return;
  }
  heap::cache_bin& bin = thread.bins[heap::class_of_tag(tag)];
  if (heap::is_full(bin))
    return deallocate_own(h, block, tag);
  *++bin.top = block; // the fast path wanted a closer look at it
}

// What the tag and the mark alone do not say to be a live block.
[[gnu::noinline]] void deallocate_suspect(void* block, std::uint32_t tag) {
  if (require_live(use_free, block))
    deallocate_in_slab(block, tag, heap::freed_mark());
}

// What is known of mappings is looked up inside of the gate, if that can be: then no signal handler
// comes in between that changes them, and waits for this thread.
std::size_t big_bytes_or_zero(const void* block, const page::location& where) {
  if (where.tag != nullptr)
    return heap::big_bytes(const_cast<void*>(block), where);
  gate_pass inside;
  return heap::big_bytes(const_cast<void*>(block), where);
}

// What is in no slab of the primary region: null, too.
[[gnu::noinline]] void deallocate_elsewhere(void* block) {
  if (block == nullptr)
    return;
  const page::location where = page::locate(block);
  if (where.tag != nullptr)
    if (const std::uint32_t tag = where.tag->load(std::memory_order_relaxed);
        tag >> page::tag_owner_shift != 0)
      return deallocate_suspect(block, tag);
  const bool in_emergency_chunk = is_emergency_block(block);
  if (is_freed_for_vanished_thread() &&
      !(in_emergency_chunk ? lives_in_emergency_chunk(block)
                           : big_bytes_or_zero(block, where) != 0)) [[unlikely]]
    return;
  if (in_emergency_chunk) [[unlikely]]
    return release_emergency(block);
  const std::size_t dirty_before = page::dirty_bytes();
  {
    gate_pass inside;
    if (!inside) [[unlikely]]
      return deallocate_without_gate(block);
    forget_big(block, where);
    heap::release_big(block, where);
  }
  after_big_free(dirty_before);
}

// --- Resizing ---------------------------------------------------------------------------------

// Whether a block of `usable` bytes may serve `size`: a smaller block would not save much.
bool worth_keeping(std::size_t usable, std::size_t size) {
  return size <= usable && size >= usable - usable / 4;
}

// `home`: the explicit heap in which the block stays; nullptr for blocks of malloc().
void* move_block(mete_heap* home, void* block, std::size_t usable, std::size_t size) {
  const int saved_errno = errno;
  void* moved = nullptr;
  if (home != nullptr) {
    moved = allocate_in(*home, size);
  } else if (gate_pass inside; inside) {
    moved = heap::map_for_growth(usable, size);
  }
  if (moved == nullptr && home == nullptr)
    moved = allocate(size);
  if (moved == nullptr) {
    if (size > usable)
      return nullptr;
    errno = saved_errno; // programs take it for granted that shrinking succeeds
    return block;
  }
  std::memcpy(moved, block, usable < size ? usable : size);
  deallocate(block);
  return moved;
}

constexpr heap::use_of_block use_realloc{"invalid realloc", "invalid realloc"};
constexpr heap::use_of_block use_usable_size{"invalid malloc_usable_size",
                                             "invalid malloc_usable_size"};

// The tag of an address, tag_none if it is in no region.
inline std::uint32_t tag_of(const void* block) {
  const page::location where = page::locate(block);
  return where.tag != nullptr ? where.tag->load(std::memory_order_relaxed) : page::tag_none;
}

// The size of the block in a slab that begins at the address, by the tag of its unit. Reports an
// address where no block lives as misuse.
inline std::size_t small_bytes(const heap::use_of_block& use, const void* block,
                               std::uint32_t tag) {
  if (!heap::looks_live(block, tag)) [[unlikely]]
    require_live(use, block);
  return heap::size_classes[heap::class_of_tag(tag)].block_bytes;
}

// As big_bytes_or_zero().
mete_heap* home_of_resized(const void* block, const page::location& where) {
  gate_pass inside;
  return home_of_big(block, where);
}

// The same of a big block.
std::size_t big_bytes(const heap::use_of_block& use, const void* block,
                      const page::location& where) {
  const std::size_t usable = big_bytes_or_zero(block, where);
  if (usable == 0) [[unlikely]]
    heap::report_no_block(use.wrong, block);
  return usable;
}

void* reallocate_small(void* block, std::uint32_t tag, std::size_t size) {
  const std::size_t usable = small_bytes(use_realloc, block, tag);
  if (worth_keeping(usable, size))
    return block;
  if (size <= heap::max_slab_block_bytes && size != 0 &&
      heap::size_classes[heap::class_of(size)].block_bytes == usable)
    return block;
  return size > PTRDIFF_MAX ? out_of_memory() : move_block(home_of_small(tag), block, usable, size);
}

void* reallocate_big(void* block, std::size_t size) {
  const page::location where = page::locate(block);
  const std::size_t usable = big_bytes(use_realloc, block, where);
  if (size > PTRDIFF_MAX)
    return out_of_memory();
  if (worth_keeping(usable, size))
    return block;
  mete_heap* const home = home_of_resized(block, where);
  void* resized = nullptr;
  if (gate_pass inside; inside) {
    resized = heap::resize_big(block, where, size);
    if (home != nullptr && resized != nullptr && resized != block)
      note_moved_big(resized);
  }
  return resized != nullptr ? resized : move_block(home, block, usable, size);
}

inline void deallocate_uncached(void* block) {
  std::uintptr_t unit = 0;
  std::uintptr_t mark = 0;
  std::uint32_t tag = page::tag_none;
  if (page::primary.find(block, unit, page::primary.minus_base, mark)) [[likely]]
    tag = page::primary.tags[unit].load(std::memory_order_relaxed);
  if (tag >> page::tag_owner_shift == 0) [[unlikely]]
    return deallocate_elsewhere(block);
  if (!heap::looks_live(block, tag, mark)) [[unlikely]]
    return deallocate_suspect(block, tag);
  deallocate_in_slab(block, tag, mark);
}

[[gnu::cold, gnu::noinline]] void deallocate_for_loader(void* block) {
  ++loader_frees;
  deallocate_uncached(block);
  --loader_frees;
}

} // namespace

void* allocate_uncached(std::size_t size) noexcept {
  if (void* const block = pop_coarse(size); block != nullptr) [[likely]]
    return block;
  return allocate_slow(size);
}

void deallocate_slow(void* block) noexcept {
  heap::prefetch_mark(block);
  freed_from = __builtin_return_address(0); // of free(), which ends in a jump to here
  if (os::loader_code.contains(freed_from)) [[unlikely]]
    return deallocate_for_loader(block);
  deallocate_uncached(block);
}

// Programs use all of a block that malloc_usable_size() tells them, so all of it is cleared.
void* allocate_zeroed(std::size_t size) {
  size += size == 0;
  unsigned class_index = 0;
  void* block = nullptr;
  if (size <= heap::max_table_bytes) {
    block = allocate(size);
    if (block == nullptr) [[unlikely]]
      return nullptr;
    class_index = heap::class_of_tag(heap::bin_offset_table[(size - 1) >> 4]);
  } else {
    block = pop_coarse(size);
    if (block == nullptr)
      return allocate_zeroed_slow(size);
    class_index = heap::class_of(size);
  }
  return std::memset(block, 0, heap::size_classes[class_index].block_bytes);
}

void* allocate_aligned(std::size_t alignment, std::size_t size) {
  METE_DEBUG_CHECK(is_power_of_two(alignment));
  if (alignment <= block_alignment)
    return allocate(size);
  const unsigned class_index = heap::aligned_class_of(size == 0 ? 1 : size, alignment);
  if (class_index < heap::class_count)
    return allocate(heap::size_classes[class_index].block_bytes);
  const page::grant result = allocate_big(size == 0 ? 1 : size, alignment);
  return result.begin != nullptr ? result.begin : out_of_memory();
}

void* reallocate(void* block, std::size_t size) {
  if (block == nullptr)
    return allocate(size);
  const std::uint32_t tag = tag_of(block);
  if (tag >> page::tag_owner_shift != 0) [[likely]]
    return reallocate_small(block, tag, size);
  if (is_emergency_block(block)) [[unlikely]]
    return move_block(nullptr, block, emergency_bytes(use_realloc.wrong, block), size);
  return reallocate_big(block, size);
}

std::size_t usable_size(const void* block) {
  if (block == nullptr)
    return 0;
  const std::uint32_t tag = tag_of(block);
  if (tag >> page::tag_owner_shift != 0) [[likely]]
    return small_bytes(use_usable_size, block, tag);
  if (is_emergency_block(block)) [[unlikely]]
    return emergency_bytes(use_usable_size.wrong, block);
  return big_bytes(use_usable_size, block, page::locate(block));
}

std::size_t good_size(std::size_t size) {
  if (size <= heap::max_slab_block_bytes)
    return heap::size_classes[heap::class_of(size == 0 ? 1 : size)].block_bytes;
  initialise();
  return size > PTRDIFF_MAX ? 0 : align_up(size, os::page_bytes);
}

} // namespace mete::front
