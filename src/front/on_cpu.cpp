// SPDX-License-Identifier: MIT
#include "front/on_cpu.hpp"

#include "base/options.hpp"
#include "front/gate.hpp"
#include "front/maintenance.hpp"
#include "heap/cache.hpp"
#include "heap/registry.hpp"
#include "os/system.hpp"

namespace mete::front {
namespace {

// With fewer threads a cache for each costs little, and it is faster: no sequence.
constexpr unsigned threads_per_cpu = 8;

bool threads_are_many() {
  const unsigned threads = heap::heaps_with_thread();
  // Without a call to the system in processes with few threads.
  return threads >= threads_per_cpu && threads >= threads_per_cpu * os::usable_cpus();
}

// Runs work(heap, cache) inside of the processor's heap, as one slow path of that kind. False if
// there is none, or the gate cannot be passed.
template <class Work>
bool in_cpu_heap(slow_path kind, Work work) {
  tick_result ticked;
  {
    gate_pass gate;
    if (!gate) [[unlikely]]
      return false;
    heap::cpu_guard inside;
    heap::heap* const h = inside.get();
    if (h == nullptr) [[unlikely]]
      return false;
    work(*h, inside.cache());
    if (count_slow_path(*h, kind)) [[unlikely]]
      ticked = tick_inside(*h, inside.cache());
  }
  if (ticked.heap != nullptr) [[unlikely]]
    finish_tick(ticked);
  return true;
}

} // namespace

bool wants_cpu_cache() {
  const auto wanted = static_cast<cpu_caches>(option(options.cpu_caches));
  return wanted != cpu_caches::never && (wanted == cpu_caches::always || threads_are_many()) &&
         heap::enable_cpu_caches();
}

void* refill_on_cpu(unsigned class_index) {
  void* block = nullptr;
  in_cpu_heap(slow_path::allocation, [&](heap::heap& h, heap::thread_state& cache) {
    heap::cache_bin& bin = cache.bins[class_index];
    // Somebody else may have filled it meanwhile.
    block = *bin.top != nullptr ? *bin.top-- : heap::refill(h, cache, class_index);
  });
  return block;
}

void* refill_on_cpu_for_calloc(unsigned class_index, bool& zeroed) {
  void* block = nullptr;
  in_cpu_heap(slow_path::allocation, [&](heap::heap& h, heap::thread_state& cache) {
    block = heap::take_for_calloc(h, cache, class_index, zeroed);
  });
  return block;
}

bool overflow_on_cpu(void* block, std::uint32_t tag) {
  return in_cpu_heap(slow_path::free, [&](heap::heap& h, heap::thread_state& cache) {
    if (tag >= heap::first_cpu_tag)
      heap::overflow(h, cache, heap::class_of_tag(tag), block);
    else
      h.put_remote(tag, block);
  });
}

} // namespace mete::front
