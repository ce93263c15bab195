// SPDX-License-Identifier: MIT
// A burst of 300 MiB of mixed blocks (16 bytes to 512 KiB), all but 10 MiB of them freed, then
// silence: an idle process makes no calls that could give memory back. Prints resident memory over
// live memory after 1, 3 and 10 seconds, and the floor that page granularity sets: the pages on
// which something live lies, as this allocator placed the blocks.

#include "support.hpp"

#include <algorithm>

namespace {

// The bytes of all pages that a live block lies on.
double pinned_bytes(bench::table<void*>& live, bench::table<std::uint32_t>& sizes) {
  std::size_t capacity = 0;
  for (std::size_t i = 0; i < live.size(); ++i) {
    capacity += live[i] == nullptr ? 0 : sizes[i] / bench::page_bytes + 2;
  }
  bench::table<std::uintptr_t> pages(capacity);
  std::uintptr_t* last = pages.begin();
  for (std::size_t i = 0; i < live.size(); ++i) {
    if (live[i] != nullptr) {
      const auto first = reinterpret_cast<std::uintptr_t>(live[i]);
      for (std::uintptr_t page = first / bench::page_bytes;
           page <= (first + sizes[i] - 1) / bench::page_bytes; ++page) {
        *last++ = page;
      }
    }
  }
  std::sort(pages.begin(), last);
  return static_cast<double>(std::unique(pages.begin(), last) - pages.begin()) * bench::page_bytes;
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t burst = arguments.number("--burst-mebibytes", 300, 300) << 20;
  const std::uint64_t kept = arguments.number("--kept-mebibytes", 10, 10) << 20;
  const std::uint64_t seconds = arguments.number("--seconds", 10, 1);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::random_source random(seed);
  bench::table<void*> live(burst / 8192);
  bench::table<std::uint32_t> sizes(live.size());
  std::size_t count = 0;
  std::uint64_t made = 0;
  for (; made < burst; ++count) {
    bench::check(count < live.size(), "more blocks than expected");
    sizes[count] = static_cast<std::uint32_t>(random.log_uniform(16, 524288));
    live[count] = bench::marked_block::make(sizes[count]);
    made += sizes[count];
  }
  bench::metric("rss_peak", bench::mebibytes(bench::resident_bytes()), "MiB");

  double held = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (random.below(made) < kept) {
      held += sizes[i];
    } else {
      bench::marked_block::release(live[i]);
      live[i] = nullptr;
    }
  }
  bench::metric("floor", pinned_bytes(live, sizes) / held, "x live");
  for (std::uint64_t second = 1; second <= seconds; ++second) {
    bench::sleep_milliseconds(1000);
    if (second == 1 || second == 3 || second == 10) {
      char name[32];
      std::snprintf(name, sizeof name, "held_%us", static_cast<unsigned>(second));
      bench::metric(name, bench::resident_bytes() / held, "x live");
    }
  }
  for (void* block : live) {
    if (block != nullptr) {
      bench::marked_block::release(block);
    }
  }
  return 0;
}
