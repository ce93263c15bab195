// SPDX-License-Identifier: MIT
#include "heap/cpu_cache.hpp"

#include "heap/registry.hpp"
#include "os/rseq.hpp"

#include <atomic>

namespace mete::heap {
namespace {

// By the kernel's number of the processor. Filled when a thread that runs there first wants it.
constinit std::atomic<cpu_cache*> caches[max_cpus] = {};
static_assert(sizeof caches[0] == sizeof(void*));

// Sequences have been given up: not, or just now, so that some may still be under way, or for good.
enum : std::uint32_t { in_use, ending, ended };
constinit std::atomic<std::uint32_t> given_up{in_use};
constinit biased_lock always_taken{biased_lock::always_taken{}};

void give_up_sequences(os::restarts_end stage) {
  if (stage == os::restarts_end::is_complete) {
    given_up.store(ended, std::memory_order_seq_cst);
    futex_wake(given_up, INT32_MAX);
    return;
  }
  std::uint32_t expected = in_use;
  given_up.compare_exchange_strong(expected, ending, std::memory_order_seq_cst);
  for (std::atomic<cpu_cache*>& place : caches)
    if (cpu_cache* const cache = place.load(std::memory_order_seq_cst); cache != nullptr)
      cache->lock.store(&always_taken, std::memory_order_relaxed);
}

#if defined(__x86_64__)

// A sequence is said to the kernel by its first address, its length, and where to go on if it was
// cut short: after a signature, back to the step that announces it. Labels: 70 to 74 are these
// parts, 75 is left to the user: behind the end, for all that does not commit.
#  define METE_SEQUENCE_BEGIN                                                                      \
    ".pushsection .data.rel.ro.mete_sequences, \"aw\", @progbits\n\t"                              \
    ".balign 32\n"                                                                                 \
    "70:\n\t"                                                                                      \
    ".long 0, 0\n\t"                                                                               \
    ".quad 71f, 72f - 71f, 73f\n\t"                                                                \
    ".popsection\n"                                                                                \
    "74:\n\t"                                                                                      \
    "leaq 70b(%%rip), %[scratch]\n\t"                                                              \
    "movq %[scratch], %%fs:%c[sequence](%[area])\n"                                                \
    "71:\n\t"
// The instruction before is the one that commits.
#  define METE_SEQUENCE_END                                                                        \
    "72:\n\t"                                                                                      \
    ".pushsection .text.mete_sequences, \"ax\", @progbits\n\t"                                     \
    ".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1, of which the signature is an operand */                   \
    ".long 0x53053053\n"                                                                           \
    "73:\n\t"                                                                                      \
    "jmp 74b\n\t"                                                                                  \
    ".popsection\n\t"
// `scratch` becomes the processor, `cache` its cache; if there is none, or if its lock is taken,
// the sequence is over. Afterwards `scratch` is the lock.
#  define METE_FIND_CACHE                                                                          \
    "movl %%fs:%c[cpu](%[area]), %k[scratch]\n\t"                                                  \
    "cmpl %[cpus], %k[scratch]\n\t"                                                                \
    "jae 75f\n\t"                                                                                  \
    "movq (%[caches],%[scratch],8), %[cache]\n\t"                                                  \
    "testq %[cache], %[cache]\n\t"                                                                 \
    "je 75f\n\t"                                                                                   \
    "movq %c[lock](%[cache]), %[scratch]\n\t"                                                      \
    "cmpq $0, (%[scratch])\n\t"                                                                    \
    "jne 75f\n\t"
#  define METE_SEQUENCE_INPUTS                                                                     \
    [area] "r"(os::rseq_offset), [caches] "r"(caches), [cpus] "i"(max_cpus),                       \
        [cpu] "i"(os::rseq_cpu), [sequence] "i"(os::rseq_sequence),                                \
        [lock] "i"(offsetof(cpu_cache, lock))

static_assert(offsetof(cpu_cache, state) == 0 && offsetof(thread_state, bins) == 0);

void* pop(std::size_t bin) {
  void* block;
  std::uintptr_t cache;
  std::uintptr_t scratch;
  asm volatile(METE_SEQUENCE_BEGIN "xorl %k[block], %k[block]\n\t" METE_FIND_CACHE
                                   "movq %c[top](%[cache],%[bin]), %[scratch]\n\t"
                                   "movq (%[scratch]), %[block]\n\t"
                                   "testq %[block], %[block]\n\t"
                                   "je 75f\n\t"
                                   "subq $8, %[scratch]\n\t"
                                   "movq %[scratch], %c[top](%[cache],%[bin])\n" METE_SEQUENCE_END
                                   "75:\n"
               : [block] "=&r"(block), [cache] "=&r"(cache), [scratch] "=&r"(scratch)
               : METE_SEQUENCE_INPUTS, [bin] "r"(bin), [top] "i"(offsetof(cache_bin, top))
               : "memory", "cc");
  return block;
}

bool push(std::size_t bin, void* block) {
  std::uint32_t pushed;
  std::uintptr_t cache;
  std::uintptr_t scratch;
  asm volatile("xorl %k[pushed], %k[pushed]\n\t" METE_SEQUENCE_BEGIN METE_FIND_CACHE
               "movq %c[top](%[cache],%[bin]), %[scratch]\n\t"
               "cmpq %[end], 8(%[scratch])\n\t"
               "je 75f\n\t"
               "movq %[block], 8(%[scratch])\n\t" // nothing, until `top` says that it counts
               "addq $8, %[scratch]\n\t"
               "movq %[scratch], %c[top](%[cache],%[bin])\n" METE_SEQUENCE_END
               "movl $1, %k[pushed]\n"
               "75:\n"
               : [pushed] "=&r"(pushed), [cache] "=&r"(cache), [scratch] "=&r"(scratch)
               : METE_SEQUENCE_INPUTS, [bin] "r"(bin), [block] "r"(block),
                 [top] "i"(offsetof(cache_bin, top)), [end] "i"(end_of_array)
               : "memory", "cc");
  return pushed != 0;
}

struct entrance {
  cpu_cache* cache; // nullptr: the processor has none
  bool entered;     // its lock, else somebody is in the way
};

entrance try_enter() {
  std::uint32_t entered;
  std::uintptr_t cache;
  std::uintptr_t scratch;
  asm volatile("xorl %k[entered], %k[entered]\n\t" METE_SEQUENCE_BEGIN
               "xorl %k[cache], %k[cache]\n\t" METE_FIND_CACHE
               "movl $1, (%[scratch])\n" // biased_lock's `inside`
               METE_SEQUENCE_END "movl $1, %k[entered]\n"
               "75:\n"
               : [entered] "=&r"(entered), [cache] "=&r"(cache), [scratch] "=&r"(scratch)
               : METE_SEQUENCE_INPUTS
               : "memory", "cc");
  return {reinterpret_cast<cpu_cache*>(cache), entered != 0};
}

unsigned current_cpu() {
  std::uint32_t cpu;
  asm volatile("movl %%fs:%c[cpu](%[area]), %k[number]\n"
               : [number] "=r"(cpu)
               : [area] "r"(os::rseq_offset), [cpu] "i"(os::rseq_cpu));
  return cpu;
}

#else // No process has these caches: enable_cpu_caches() says so.

void* pop(std::size_t) {
  return nullptr;
}
bool push(std::size_t, void*) {
  return false;
}
struct entrance {
  cpu_cache* cache;
  bool entered;
};
entrance try_enter() {
  return {nullptr, false};
}
unsigned current_cpu() {
  return max_cpus;
}

#endif

} // namespace

bool enable_cpu_caches() {
  return os::enable_sequences(give_up_sequences);
}

void* pop_on_cpu(unsigned class_index) {
  return pop(std::size_t{class_index} << tag_class_shift);
}

bool push_on_cpu(unsigned class_index, void* block) {
  return push(std::size_t{class_index} << tag_class_shift, block);
}

namespace {

entrance try_enter_without_sequence() {
  while (given_up.load(std::memory_order_seq_cst) == ending)
    futex_wait(given_up, ending);
  const unsigned cpu = current_cpu();
  cpu_cache* const cache = cpu < max_cpus ? caches[cpu].load(std::memory_order_acquire) : nullptr;
  return {cache, cache != nullptr && cache->state.owned->lock.try_enter_without_sequence()};
}

} // namespace

biased_lock* lock_for_sequences(heap& h) {
  return given_up.load(std::memory_order_seq_cst) == in_use ? &h.lock : &always_taken;
}

namespace {
[[gnu::tls_model("initial-exec")]] constinit thread_local const heap* entered_heap = nullptr;
}

const heap* entered_cpu_heap() {
  return entered_heap;
}

cpu_guard::cpu_guard() {
  for (;;) {
    const bool by_sequence = given_up.load(std::memory_order_relaxed) == in_use;
    const entrance attempt = by_sequence ? try_enter() : try_enter_without_sequence();
    cache_ = attempt.cache;
    if (attempt.entered)
      break;
    if (cache_ != nullptr)
      cache_->state.owned->lock.await_entrance();
    else if (const unsigned cpu = current_cpu();
             cpu >= max_cpus || !create_cpu_cache(caches[cpu], cpu)) [[unlikely]]
      return;
  }
  lock_order_acquire(lock_rank::heap);
  entered_heap = get();
}

cpu_guard::~cpu_guard() {
  entered_heap = nullptr;
  if (cache_ != nullptr)
    cache_->state.owned->lock.leave_on_cpu();
}

void check_cpu_cache(heap& h) {
  for (unsigned index = 0; index < class_count; ++index) {
    const cache_bin& bin = h.thread->bins[index];
    const cache_array& array = h.classes[index].cache;
    void** const slots = array.slots == nullptr ? empty_bin : array.slots;
    METE_CHECK(slots[0] == nullptr);
    METE_CHECK(reinterpret_cast<std::uintptr_t>(slots[array.capacity + 1]) == end_of_array);
    METE_CHECK(bin.top >= slots && bin.top <= slots + array.capacity);
    for (void** slot = bin.top; *slot != nullptr; --slot) {
      const slab& s = slab_of(*slot);
      METE_CHECK(s.class_index == index && block_index(s, *slot) < s.frontier());
      METE_CHECK(page::locate(*slot).tag->load(std::memory_order_relaxed) >= first_cpu_tag);
    }
  }
}

} // namespace mete::heap
