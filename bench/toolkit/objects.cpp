// SPDX-License-Identifier: MIT
// Objects of one type, one thread: built, used and destroyed alone (pair), a thousand at a time in
// random order (batch), and one of a thousand replaced (replace). `malloc` is new and delete by
// std::unique_ptr.

#include "candidates.hpp"

#include <mete/object_pool.hpp>

#include <memory>

#ifdef METE_BENCH_BOOST
#  include <boost/pool/object_pool.hpp>
#endif

namespace {

constexpr std::size_t live_objects = 1000;

struct particle {
  particle() : position{1, 2, 3}, speed{4, 5, 6} {}
  double position[3];
  double speed[3];
};

// The benchmark wants blocks: whoever owns the object lets go of it meanwhile.
struct unique_objects {
  static constexpr const char* name = "malloc";
  void* allocate(std::size_t) { return std::make_unique<particle>().release(); }
  void deallocate(void* object, std::size_t) {
    std::unique_ptr<particle>(static_cast<particle*>(object)).reset();
  }
};

struct pool_objects {
  static constexpr const char* name = "object_pool";
  void* allocate(std::size_t) { return memory.create().release(); }
  void deallocate(void* object, std::size_t) {
    mete::box<particle>(static_cast<particle*>(object)).reset();
  }
  mete::object_pool<particle> memory;
};

#ifdef METE_BENCH_BOOST
// Its destroy() walks the list of free objects, so that it takes the longer the more are free.
struct boost_objects {
  static constexpr const char* name = "boost";
  void* allocate(std::size_t) { return memory.construct(); }
  void deallocate(void* object, std::size_t) { memory.destroy(static_cast<particle*>(object)); }
  boost::object_pool<particle> memory;
};
#endif

#ifdef METE_BENCH_FOONATHAN
struct foonathan_objects : bench::foonathan_pool {
  foonathan_objects() : foonathan_pool(sizeof(particle)) {}
  void* allocate(std::size_t size) { return new (foonathan_pool::allocate(size)) particle; }
  void deallocate(void* object, std::size_t size) {
    std::destroy_at(static_cast<particle*>(object));
    foonathan_pool::deallocate(object, size);
  }
};
#endif

using all = bench::candidates<unique_objects, pool_objects
#ifdef METE_BENCH_BOOST
                              ,
                              boost_objects
#endif
#ifdef METE_BENCH_FOONATHAN
                              ,
                              foonathan_objects
#endif
                              >;

} // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, all{},
                    []<class candidate>(bench::arguments& options, bench::random_source random) {
                      const std::uint64_t count = options.number("--count", 20'000'000, 2'000'000);
                      options.finish();
                      const auto one_size = [] { return sizeof(particle); };
                      candidate with;
                      const double pair = bench::measure_pairs(with, count, one_size);
                      const double batch =
                          bench::measure_batches(with, count, live_objects, random, one_size);
                      const double replace =
                          bench::measure_replacing(with, count, live_objects, random, one_size);
                      bench::metric("pair", pair, "ns");
                      bench::metric("batch", batch, "ns");
                      bench::metric("replace", replace, "ns");
                    });
}
