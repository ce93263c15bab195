// SPDX-License-Identifier: MIT
// Blocks of many sizes, one thread: a thousand at a time (batch), and one of five thousand replaced
// (replace). `--sizes mixed`: 16 bytes to 63 KiB, small ones likelier; `powers`: random powers of
// two from 64 bytes to 32 KiB; `page`: 4 KiB. Sizes are drawn before anything is timed.

#include "any_size.hpp"

namespace {

class size_list {
public:
  size_list(const char* kind, bench::random_source& random) : sizes_(count) {
    for (std::uint32_t& each : sizes_) {
      each = static_cast<std::uint32_t>(draw(kind, random));
    }
  }
  std::size_t next() { return sizes_[at_++ % count]; }

private:
  static constexpr std::size_t count = 1 << 16;

  static std::size_t draw(const char* kind, bench::random_source& random) {
    if (std::strcmp(kind, "powers") == 0) {
      return std::size_t{64} << random.below(10);
    }
    if (std::strcmp(kind, "page") == 0) {
      return bench::page_bytes;
    }
    bench::check(std::strcmp(kind, "mixed") == 0, "--sizes takes mixed, powers or page");
    return bench::mixed_size(random);
  }

  bench::table<std::uint32_t> sizes_;
  std::size_t at_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, bench::any_size{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const char* kind = options.text("--sizes", "mixed");
                      const std::uint64_t count = options.number("--count", 10'000'000, 1'000'000);
                      options.finish();
                      size_list sizes(kind, random);
                      const auto next_size = [&] { return sizes.next(); };
                      candidate with(bench::largest_block_bytes);
                      const double batch =
                          bench::measure_batches(with, count, 1000, random, next_size);
                      const double replace =
                          bench::measure_replacing(with, count, 5000, random, next_size);
                      bench::metric("batch", batch, "ns");
                      bench::metric("replace", replace, "ns");
                    });
}
