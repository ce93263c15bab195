// SPDX-License-Identifier: MIT
// What the toolkit's benchmarks share: choosing the candidate, a fragmented heap, blocks in use.
//
// A candidate is a class with a `name`, allocate(size) and deallocate(block, size), which the
// benchmark is a template over, so that calls are inlined as they would be in a program. `--with`
// chooses one, `--list` prints those that were built. `--heap fragmented` makes the benchmark start
// on a heap that a program has used for a while: plain malloc has given a few hundred thousand
// blocks of mixed sizes, and has a random half of them back; the rest lives on to the end.
#pragma once

#include "../workloads/support.hpp"

#include <utility>

namespace bench {

template <class... each>
struct candidates {};

template <class... each>
void print_names(candidates<each...>) {
  (std::printf("%s\n", each::name), ...);
}

// Calls body.operator()<candidate>() for the one that is called `name`.
template <class... each, class body>
void with_candidate(candidates<each...>, const char* name, body&& call) {
  const bool found =
      ((std::strcmp(name, each::name) == 0 && (call.template operator()<each>(), true)) || ...);
  check(found, "--with names nothing that was built; see --list");
}

// 16 to 1023 bytes, each doubling equally likely.
inline void fragment_heap(std::size_t count, std::uint64_t seed) {
  random_source random(seed);
  table<void*> blocks(count);
  for (void*& each : blocks) {
    each = marked_block::make(random.log_uniform(16, 1024));
  }
  for (std::size_t left = count; left > count / 2; --left) {
    std::swap(blocks[left - 1], blocks[random.below(left)]);
    marked_block::release(blocks[left - 1]);
  }
}

// The body of main(): `measure` is called with the candidate's type and the rest of the arguments.
template <class list, class body>
int run(int count, char** values, list all, body&& measure) {
  if (count == 2 && std::strcmp(values[1], "--list") == 0) {
    print_names(all);
    return 0;
  }
  arguments options(count, values);
  const char* with = options.text("--with", "malloc");
  const char* heap = options.text("--heap", "clean");
  const std::uint64_t seed = options.number("--seed", 1, 1);
  if (std::strcmp(heap, "fragmented") == 0) {
    fragment_heap(options.quick() ? 200'000 : 400'000, seed);
  } else {
    check(std::strcmp(heap, "clean") == 0, "--heap takes clean or fragmented");
  }
  with_candidate(all, with, [&]<class candidate>() {
    measure.template operator()<candidate>(options, random_source(seed * 7919));
  });
  return 0;
}

// Nanoseconds for each of `count` operations since `start`.
inline double cost_since(std::uint64_t start, std::uint64_t count) {
  return static_cast<double>(nanoseconds_now() - start) / static_cast<double>(count);
}

// A block in use: the number at its begin and at its end says whether it is still the same.
struct live_block {
  void* memory = nullptr;
  std::size_t bytes = 0;

  void write(std::uint64_t number) const {
    std::memcpy(memory, &number, sizeof number);
    std::memcpy(static_cast<char*>(memory) + bytes - sizeof number, &number, sizeof number);
  }
  void verify(std::uint64_t number) const {
    std::uint64_t head = 0;
    std::uint64_t tail = 0;
    std::memcpy(&head, memory, sizeof head);
    std::memcpy(&tail, static_cast<char*>(memory) + bytes - sizeof tail, sizeof tail);
    check(head == number && tail == number, "a block lost its contents");
  }
};

template <class candidate>
live_block make_block(candidate& with, std::size_t bytes, std::uint64_t number) {
  const live_block made{with.allocate(bytes), bytes};
  check(made.memory != nullptr, "the allocator gave no memory");
  made.write(number);
  return made;
}

template <class candidate>
void end_block(candidate& with, const live_block& block, std::uint64_t number) {
  block.verify(number);
  with.deallocate(block.memory, block.bytes);
}

// Nanoseconds for a block that is allocated, used and freed at once.
template <class candidate, class size>
double measure_pairs(candidate& with, std::uint64_t count, size&& next_size) {
  const std::uint64_t start = nanoseconds_now();
  for (std::uint64_t i = 0; i < count; ++i) {
    end_block(with, make_block(with, next_size(), i), i);
  }
  return cost_since(start, count);
}

// The same for blocks of which `batch` live at a time, freed in random order.
template <class candidate, class size>
double measure_batches(candidate& with, std::uint64_t count, std::size_t batch,
                       random_source random, size&& next_size) {
  table<live_block> blocks(batch);
  table<std::uint32_t> order(batch);
  for (std::size_t i = 0; i < batch; ++i) {
    order[i] = static_cast<std::uint32_t>(i);
  }
  for (std::size_t i = batch; i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i)]);
  }
  const std::uint64_t start = nanoseconds_now();
  for (std::uint64_t done = 0; done < count; done += batch) {
    for (std::size_t i = 0; i < batch; ++i) {
      blocks[i] = make_block(with, next_size(), i);
    }
    for (const std::uint32_t i : order) {
      end_block(with, blocks[i], i);
    }
  }
  return cost_since(start, count);
}

// The same in a set of `live` blocks, of which a random one is replaced.
template <class candidate, class size>
double measure_replacing(candidate& with, std::uint64_t count, std::size_t live,
                         random_source random, size&& next_size) {
  table<live_block> blocks(live);
  for (std::size_t i = 0; i < live; ++i) {
    blocks[i] = make_block(with, next_size(), i);
  }
  const std::uint64_t start = nanoseconds_now();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t place = random.below(live);
    end_block(with, blocks[place], place);
    blocks[place] = make_block(with, next_size(), place);
  }
  const double cost = cost_since(start, count);
  for (std::size_t i = 0; i < live; ++i) {
    end_block(with, blocks[i], i);
  }
  return cost;
}

} // namespace bench
