// SPDX-License-Identifier: MIT
#include "front/statistics.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"
#include "front/gate.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "heap/cpu_cache.hpp"
#include "heap/mapping.hpp"
#include "heap/registry.hpp"
#include "page/metadata.hpp"
#include "page/region.hpp"

namespace mete::front {

statistics take_statistics() {
  initialise();
  statistics result;
  if (gate_pass inside{1000}; inside) {
    lock_guard guard(maintenance_lock);
    // A block that was freed counts as free, also while it is on its way to the heap that it is of.
    heap::for_each_heap([](heap::heap& h) { with_heap(h, [&] { h.deliver_outbox(); }); });
    heap::for_each_heap([&](heap::heap& h) {
      ++result.heaps;
      with_heap(h, [&] {
        h.drain_pending();
        const heap::heap_usage usage = h.usage();
        result.slabs += usage.slabs;
        result.slab_bytes += usage.slab_bytes;
        result.small_bytes += usage.block_bytes;
        result.slab_free_bytes += usage.free_bytes;
        result.slab_purged_bytes += usage.purged_bytes;
      });
    });
  }
  const page::region_usage regions = page::regions_in_use();
  result.reserved_bytes = regions.reserved_bytes;
  result.committed_bytes = regions.committed_bytes;
  result.dirty_bytes = regions.dirty_bytes;
  result.free_run_bytes = regions.free_bytes;
  result.regions = regions.regions;
  result.metadata_bytes = regions.table_bytes + page::metadata_in_use().mapped_bytes;
  // The heaps were looked at one after the other, and before the regions: a unit that changed hands
  // meanwhile counts twice, or not at all.
  const std::size_t in_use = difference_or_zero(regions.committed_bytes, regions.free_bytes);
  result.big_bytes = difference_or_zero(in_use, result.slab_bytes);
  const heap::mapping_usage mappings = heap::mappings_in_use();
  result.mapping_count = mappings.count;
  result.mapping_bytes = mappings.bytes;
  result.heaps_with_thread = heap::heaps_with_thread();
  return result;
}

void print_statistics() {
  const statistics s = take_statistics();
  const struct {
    const char* name;
    std::size_t value;
  } lines[] = {
      {"live bytes", s.live_bytes()},
      {"  in slabs (thread caches included)", s.small_bytes},
      {"  medium and large", s.big_bytes},
      {"  mappings of their own", s.mapping_bytes},
      {"free in slabs", s.slab_free_bytes},
      {"  of that purged", s.slab_purged_bytes},
      {"free runs", s.free_run_bytes},
      {"  of that dirty", s.dirty_bytes},
      {"committed", s.committed_bytes},
      {"metadata", s.metadata_bytes},
      {"slabs", s.slabs},
      {"heaps", s.heaps},
      {"  with a thread", s.heaps_with_thread},
      {"regions", s.regions},
  };
  for (const auto& each : lines) {
    message text;
    text << each.name << ": " << each.value;
    text.print();
  }
}

void check_all_invariants() {
  gate_pass inside{1000};
  METE_CHECK(inside);
  page::check_region_invariants();
  lock_guard guard(maintenance_lock);
  heap::for_each_heap([](heap::heap& h) {
    with_heap(h, [&] {
      h.check_invariants();
      if (h.serves_cpu())
        heap::check_cpu_cache(h);
    });
  });
}

} // namespace mete::front
