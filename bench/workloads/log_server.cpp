// SPDX-License-Identifier: MIT
// A log server: 90 % of the records take 100 to 500 bytes, 8 % take 4 KiB, 2 % take 1 MiB (a stack
// dump). Every thread keeps its records in a queue until they are "written", oldest first; one in
// fifty is held back much longer, as an open transaction does. Our own scenario.

#include "support.hpp"

namespace {

constexpr std::size_t queue_records = 256;
constexpr std::size_t held_records = 64;

std::uint64_t record_size(bench::random_source& random) {
  const std::uint64_t kind = random.below(100);
  if (kind < 90) {
    return random.between(100, 500);
  }
  return kind < 98 ? 4096 : 1 << 20;
}

struct server {
  bench::random_source random;
  bench::table<void*> queue{queue_records};
  bench::table<void*> held{held_records};
  std::uint64_t received = 0;
  std::uint64_t written = 0;

  void write_out(void*& record) {
    if (record != nullptr) {
      written += bench::marked_block::release(record);
      record = nullptr;
    }
  }

  void receive(std::uint64_t number) {
    void*& place = queue[number % queue_records];
    if (place != nullptr && random.below(50) == 0) {
      void*& longer = held[random.below(held_records)];
      write_out(longer);
      longer = place;
    } else {
      write_out(place);
    }
    const std::uint64_t size = record_size(random);
    place = bench::marked_block::make(size);
    received += size;
  }

  void finish() {
    for (void*& record : queue) {
      write_out(record);
    }
    for (void*& record : held) {
      write_out(record);
    }
    bench::check(received == written, "records were lost");
  }
};

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(4);
  const std::uint64_t records = arguments.number("--records", 800'000, 150'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::run_threads(threads, [&](unsigned index) {
    server each{bench::random_source(seed * 7919 + index)};
    for (std::uint64_t i = 0; i < records / threads; ++i) {
      each.receive(i);
    }
    each.finish();
  });
  return 0;
}
