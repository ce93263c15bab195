// Blocks that a thread frees for another: into the outbox and, in batches, to their slabs; and what
// it costs their owner to take them back. Once with neighbours of one slab together, once with
// blocks of many slabs in random order.
//
// SPDX-License-Identifier: MIT
#include "heap/outbox.hpp"

#include "heap/registry.hpp"
#include "os/memory.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

namespace mete::heap {
namespace {

constexpr unsigned block_count = 8192;
constexpr unsigned class_index = class_of(128);

template <class Work>
double seconds_in(heap& h, Work work) {
  owner_guard inside(h.lock);
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// `blocks` becomes that many of the owner's, or fewer if memory is out.
void take_all(heap& owner, std::vector<void*>& blocks) {
  owner_guard inside(owner.lock);
  unsigned taken = 0;
  for (unsigned more = 1; taken < block_count && more != 0; taken += more) {
    unsigned fresh_from = 0;
    more = owner.take(class_index, blocks.data() + taken, block_count - taken, fresh_from);
  }
  blocks.resize(taken);
}

std::size_t blocks_of(heap& h) {
  owner_guard inside(h.lock);
  return h.usage().block_bytes;
}

enum class order { by_slab, random };
enum class timed { delivery, way_home };

void send(benchmark::State& state, order of_blocks, timed what) {
  os::initialise_memory();
  thread_state states[2] = {};
  heap* const owner = acquire_heap(&states[0]);
  heap* const freer = acquire_heap(&states[1]);
  std::mt19937 random(1);
  std::vector<void*> blocks(block_count);
  for (auto _ : state) {
    take_all(*owner, blocks);
    if (blocks.size() != block_count) {
      state.SkipWithError("memory is out");
      break;
    }
    if (of_blocks == order::random)
      std::shuffle(blocks.begin(), blocks.end(), random);
    const double delivery = seconds_in(*freer, [&] {
      for (void* const block : blocks)
        freer->put_remote(page::locate(block).tag->load(), block);
      freer->deliver_outbox();
    });
    const double way_home = seconds_in(*owner, [&] { owner->drain_pending(); });
    state.SetIterationTime(what == timed::delivery ? delivery : way_home);
  }
  state.SetItemsProcessed(state.iterations() * block_count);
  if (blocks_of(*owner) != 0)
    state.SkipWithError("blocks were lost between the heaps");
  abandon_heap(*owner);
  abandon_heap(*freer);
}

BENCHMARK_CAPTURE(send, delivery_by_slab, order::by_slab, timed::delivery)
    ->Name("outbox/delivery/by_slab")
    ->UseManualTime();
BENCHMARK_CAPTURE(send, delivery_random, order::random, timed::delivery)
    ->Name("outbox/delivery/random")
    ->UseManualTime();
BENCHMARK_CAPTURE(send, way_home_by_slab, order::by_slab, timed::way_home)
    ->Name("outbox/way_home/by_slab")
    ->UseManualTime();
BENCHMARK_CAPTURE(send, way_home_random, order::random, timed::way_home)
    ->Name("outbox/way_home/random")
    ->UseManualTime();

} // namespace
} // namespace mete::heap
