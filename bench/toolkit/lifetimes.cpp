// SPDX-License-Identifier: MIT
// A program's mix: rounds in which blocks of all lifetimes are taken, one thread. Of a hundred
// blocks 40 live to the end of a part of the round (scratch, 16 to 255 bytes), 30 to the end of the
// next round (frame, 16 to 1023), 25 replace one of five thousand objects (16 to 4095, every
// hundredth 4 to 63 KiB), and 5 are records that a queue of 64 passes on (log, 64 to 511). Every
// hundredth round replaces one of four blocks of 2 to 4 MiB. The figure is the time for a block.

#include "any_size.hpp"

#include <mete/router.hpp>

namespace {

using mete::lifetime;

// Without lifetimes everything is freed one by one, for which lists have to be kept.
template <class blocks>
struct freed_one_by_one : blocks {
  static constexpr const char* name = blocks::name;
  static constexpr bool knows_lifetimes = false;
  freed_one_by_one() : blocks(bench::largest_block_bytes) {}
  void* allocate(std::size_t size, lifetime) { return blocks::allocate(size); }
};

struct router_blocks {
  static constexpr const char* name = "router";
  static constexpr bool knows_lifetimes = true;
  void* allocate(std::size_t size, lifetime hint) { return memory.try_allocate(size, 16, hint); }
  void deallocate(void* block, std::size_t size) { memory.deallocate(block, size, 16); }
  mete::router memory{{.small_bytes = 64 << 20, .medium_bytes = 64 << 20}};
};

using all = bench::candidates<freed_one_by_one<bench::malloc_blocks>, router_blocks
#ifdef METE_BENCH_TBB
                              ,
                              freed_one_by_one<bench::tbb_blocks>
#endif
                              >;

template <class candidate>
struct program {
  static constexpr std::size_t scratch_count = 40;
  static constexpr std::size_t frame_count = 30;
  static constexpr std::size_t object_count = 25;
  static constexpr std::size_t record_count = 5;
  static constexpr std::size_t round_blocks = 100;

  candidate with;
  bench::random_source random;
  bench::table<bench::live_block> scratch{scratch_count};
  bench::table<bench::live_block> frames{2 * frame_count};
  bench::table<bench::live_block> objects{5000};
  bench::table<bench::live_block> records{64};
  bench::table<bench::live_block> large{4};
  std::uint64_t record = 0;

  explicit program(bench::random_source from) : random(from) {}
  ~program() {
    for (auto* each : {&objects, &records, &large}) {
      for (std::size_t i = 0; i < each->size(); ++i) {
        end((*each)[i], i);
      }
    }
    if constexpr (!candidate::knows_lifetimes) {
      for (bench::live_block& each : frames) {
        end(each, each.bytes);
      }
    }
  }

  void make(bench::live_block& place, std::size_t size, lifetime hint, std::uint64_t number) {
    place = {with.allocate(size, hint), size};
    bench::check(place.memory != nullptr, "the allocator gave no memory");
    place.write(number);
  }
  void end(bench::live_block& place, std::uint64_t number) {
    if (place.memory != nullptr) {
      bench::end_block(with, place, number);
      place.memory = nullptr;
    }
  }

  void use_scratch() {
    for (std::size_t i = 0; i < scratch_count; ++i) {
      make(scratch[i], random.log_uniform(16, 256), lifetime::scratch, i);
    }
    for (std::size_t i = 0; i < scratch_count; ++i) {
      scratch[i].verify(i);
      if constexpr (!candidate::knows_lifetimes) {
        with.deallocate(scratch[i].memory, scratch[i].bytes);
      }
    }
  }

  void run_round(std::uint64_t number) {
    if constexpr (candidate::knows_lifetimes) {
      const auto scope = with.memory.scratch_scope();
      use_scratch();
    } else {
      use_scratch();
    }
    const std::size_t frame = number % 2 * frame_count;
    if constexpr (candidate::knows_lifetimes) {
      with.memory.next_frame();
    }
    for (std::size_t i = frame; i < frame + frame_count; ++i) {
      if constexpr (!candidate::knows_lifetimes) {
        end(frames[i], frames[i].bytes);
      }
      const std::size_t size = random.log_uniform(16, 1024);
      make(frames[i], size, lifetime::frame, size);
    }
    for (std::size_t i = 0; i < object_count; ++i) {
      const std::size_t place = random.below(objects.size());
      end(objects[place], place);
      make(objects[place], bench::mixed_size(random), lifetime::object, place);
    }
    for (std::size_t i = 0; i < record_count; ++i) {
      const std::size_t place = record++ % records.size();
      end(records[place], place);
      make(records[place], random.log_uniform(64, 512), lifetime::log, place);
    }
    if (number % 100 == 0) {
      const std::size_t place = number / 100 % large.size();
      end(large[place], place);
      make(large[place], random.log_uniform(2 << 20, 4 << 20), lifetime::object, place);
    }
  }
};

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::uint64_t count = options.number("--count", 30'000'000, 3'000'000);
                      options.finish();
                      program<candidate> one(random);
                      const std::uint64_t rounds = count / program<candidate>::round_blocks;
                      for (std::uint64_t i = 0; i < rounds / 10; ++i) {
                        one.run_round(i); // the objects come into being
                      }
                      const std::uint64_t start = bench::nanoseconds_now();
                      for (std::uint64_t i = 0; i < rounds; ++i) {
                        one.run_round(i);
                      }
                      bench::metric("block", bench::cost_since(start, count), "ns");
                    });
}
