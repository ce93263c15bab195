// create() and destroy(), which every allocator has from allocator.hpp.
//
// SPDX-License-Identifier: MIT
#include <mete/allocator.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <mete/toolkit.hpp>

namespace {

struct session {
  session(int socket, const char* from) : number(socket), name(from) { ++living; }
  session(const session&) = delete;
  session& operator=(const session&) = delete;
  ~session() { --living; }
  int number;
  std::string name;
  static inline int living = 0;
};

template <class A>
void expect_objects(A& in) {
  auto* const one = mete::create<session>(in, 1, "a name that is too long for a small string");
  auto* const two = mete::create<session>(in, 2, "");
  EXPECT_EQ(session::living, 2);
  EXPECT_EQ(one->number, 1);
  EXPECT_GE(in.usage().used_bytes, 2 * sizeof(session));
  mete::destroy(in, one);
  mete::destroy(in, two);
  EXPECT_EQ(session::living, 0);
  EXPECT_EQ(in.usage().used_bytes, 0u);
}

// create() refuses objects with destructors in these, for nothing would run them.
static_assert(mete::detail::ends_blocks_together<mete::arena>);
static_assert(mete::detail::ends_blocks_together<mete::frame_arena<2>>);
static_assert(mete::detail::ends_blocks_together<mete::shared_stack>);
static_assert(mete::detail::ends_blocks_together<mete::counted<mete::guarded<mete::arena>>>);
static_assert(!mete::detail::ends_blocks_together<mete::slab_cache>);
static_assert(!mete::detail::ends_blocks_together<mete::router>);
static_assert(!mete::detail::ends_blocks_together<mete::guarded<mete::bins>>);

TEST(create, in_allocators_of_all_kinds) {
  mete::pool pool({.block_bytes = sizeof(session)});
  expect_objects(pool);
  mete::slab_cache cache({.block_bytes = sizeof(session)});
  expect_objects(cache);
  mete::bins bins;
  expect_objects(bins);
  mete::buddy buddy;
  expect_objects(buddy);
  mete::router router;
  expect_objects(router);
  mete::guarded<mete::bins> guarded; // reports what comes back with another size
  expect_objects(guarded);
}

TEST(create, a_constructor_that_throws_leaves_nothing) {
  struct throws {
    throws() { throw std::runtime_error("no"); }
  };
  mete::slab_cache cache;
  EXPECT_THROW(static_cast<void>(mete::create<throws>(cache)), std::runtime_error);
  EXPECT_EQ(cache.live_blocks(), 0u);
}

TEST(create, exhaustion_is_told) {
  mete::slab_cache cache({.name = "sessions", .block_bytes = sizeof(session) - 1, .alignment = 1});
  EXPECT_THROW(static_cast<void>(mete::create<session>(cache, 1, "")), mete::out_of_memory);
}

TEST(create, aggregates_and_alignments) {
  struct alignas(128) line {
    std::uint32_t x, y;
  };
  mete::bins bins;
  line* const one = mete::create<line>(bins, 3u, 4u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(one) % 128, 0u);
  EXPECT_EQ(one->y, 4u);
  mete::destroy(bins, one);
}

TEST(create, in_an_arena_what_needs_no_destructor) {
  mete::arena arena;
  mete::frame_arena<2> frames;
  EXPECT_EQ(*mete::create<int>(arena, 5), 5);
  EXPECT_EQ(*mete::create<int>(frames, 6), 6);
  EXPECT_EQ(frames.allocations_this_frame(), 1u);
}

} // namespace
