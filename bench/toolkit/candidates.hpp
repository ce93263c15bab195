// SPDX-License-Identifier: MIT
// The candidates: each library's allocator for a job, behind the same two verbs.
//
// Blocks of any size come from malloc_blocks, tbb_blocks and resource_blocks (a memory resource of
// the standard library's or of Boost.Container); blocks of one size also from Boost.Pool's and
// foonathan/memory's pools. The toolkit's types are used as they are, by toolkit_blocks. Options
// are the libraries' defaults wherever there are some.
#pragma once

#include "support.hpp"

#include <cstdlib>
#include <memory_resource>
#include <mutex>

#ifdef METE_BENCH_BOOST
#  include <boost/container/pmr/global_resource.hpp>
#  include <boost/container/pmr/monotonic_buffer_resource.hpp>
#  include <boost/container/pmr/synchronized_pool_resource.hpp>
#  include <boost/container/pmr/unsynchronized_pool_resource.hpp>
#  include <boost/pool/pool.hpp>
#endif
#ifdef METE_BENCH_FOONATHAN
#  include <foonathan/memory/memory_pool.hpp>
#  include <foonathan/memory/memory_pool_collection.hpp>
#  include <foonathan/memory/memory_stack.hpp>
#endif
#ifdef METE_BENCH_TBB
#  define TBB_PREVIEW_MEMORY_POOL 1
#  include <oneapi/tbb/memory_pool.h>
#  include <oneapi/tbb/scalable_allocator.h>
#endif

namespace bench {

// Whatever malloc the process runs on.
struct malloc_blocks {
  static constexpr const char* name = "malloc";
  explicit malloc_blocks(std::size_t) {}
  void* allocate(std::size_t size) { return std::malloc(size); }
  void deallocate(void* block, std::size_t) { std::free(block); }
};

template <class resource>
struct resource_blocks {
  explicit resource_blocks(std::size_t) {}
  void* allocate(std::size_t size) { return memory.allocate(size); }
  void deallocate(void* block, std::size_t size) { memory.deallocate(block, size); }
  resource memory;
};
struct pmr_blocks : resource_blocks<std::pmr::unsynchronized_pool_resource> {
  static constexpr const char* name = "pmr";
  using resource_blocks::resource_blocks;
};
struct pmr_shared_blocks : resource_blocks<std::pmr::synchronized_pool_resource> {
  static constexpr const char* name = "pmr";
  using resource_blocks::resource_blocks;
};

// A type of the toolkit with its options.
template <class type>
struct toolkit_blocks {
  template <class... options>
  explicit toolkit_blocks(const options&... with) : memory(with...) {}
  void* allocate(std::size_t size) { return memory.try_allocate(size); }
  void deallocate(void* block, std::size_t size) {
    memory.deallocate(block, size, alignof(std::max_align_t));
  }
  type memory;
};

#ifdef METE_BENCH_BOOST
struct boost_blocks : resource_blocks<boost::container::pmr::unsynchronized_pool_resource> {
  static constexpr const char* name = "boost";
  using resource_blocks::resource_blocks;
};
struct boost_shared_blocks : resource_blocks<boost::container::pmr::synchronized_pool_resource> {
  static constexpr const char* name = "boost";
  using resource_blocks::resource_blocks;
};
struct boost_pool {
  static constexpr const char* name = "boost";
  explicit boost_pool(std::size_t block_bytes) : memory(block_bytes) {}
  void* allocate(std::size_t) { return memory.malloc(); }
  void deallocate(void* block, std::size_t) { memory.free(block); }
  boost::pool<boost::default_user_allocator_malloc_free> memory;
};
#endif

#ifdef METE_BENCH_FOONATHAN
// It wants to know how much to ask for at first.
inline constexpr std::size_t foonathan_first_bytes = 256 * 1024;

struct foonathan_pool {
  static constexpr const char* name = "foonathan";
  explicit foonathan_pool(std::size_t block_bytes) : memory(block_bytes, foonathan_first_bytes) {}
  void* allocate(std::size_t) { return memory.allocate_node(); }
  void deallocate(void* block, std::size_t) { memory.deallocate_node(block); }
  foonathan::memory::memory_pool<> memory;
};
struct foonathan_shared_pool {
  static constexpr const char* name = "foonathan";
  explicit foonathan_shared_pool(std::size_t block_bytes) : pool(block_bytes) {}
  void* allocate(std::size_t size) {
    const std::lock_guard locked(mutex);
    return pool.allocate(size);
  }
  void deallocate(void* block, std::size_t size) {
    const std::lock_guard locked(mutex);
    pool.deallocate(block, size);
  }
  std::mutex mutex;
  foonathan_pool pool;
};
// Sizes in powers of two, which is what it has for many sizes.
struct foonathan_blocks {
  static constexpr const char* name = "foonathan";
  explicit foonathan_blocks(std::size_t largest) : memory(largest, 64 * largest) {}
  void* allocate(std::size_t size) { return memory.allocate_node(size); }
  void deallocate(void* block, std::size_t size) { memory.deallocate_node(block, size); }
  foonathan::memory::memory_pool_collection<foonathan::memory::node_pool,
                                            foonathan::memory::log2_buckets>
      memory;
};
#endif

#ifdef METE_BENCH_TBB
struct tbb_blocks {
  static constexpr const char* name = "tbb";
  explicit tbb_blocks(std::size_t) {}
  void* allocate(std::size_t size) { return scalable_malloc(size); }
  void deallocate(void* block, std::size_t) { scalable_free(block); }
};
#endif

} // namespace bench
