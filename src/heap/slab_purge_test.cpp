// Purging inside a slab: claims keep blocks, and so the slab, out of everybody's hands.
//
// SPDX-License-Identifier: MIT
#include "heap/slab.hpp"

#include "os/memory.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace mete::heap {
namespace {

class slab_purge_test : public ::testing::TestWithParam<unsigned> {
protected:
  void SetUp() override {
    os::initialise_memory();
    units.resize(5 * unit_bytes);
    begin = align_up(units.data(), unit_bytes);
    descriptor.resize(size_classes[GetParam()].descriptor_bytes / 8);
    s = reinterpret_cast<slab*>(descriptor.data());
    initialise_slab(*s, GetParam(), begin, true);
  }

  std::vector<void*> take_all() {
    std::vector<void*> blocks(s->info().capacity);
    unsigned fresh = 0;
    EXPECT_EQ(take_blocks(*s, blocks.data(), s->info().capacity, fresh), s->info().capacity);
    return blocks;
  }

  std::vector<char> units;
  std::vector<std::uint64_t> descriptor;
  char* begin = nullptr;
  slab* s = nullptr;
};

TEST_P(slab_purge_test, every_claimed_page_holds_a_block_back) {
  const std::vector<void*> blocks = take_all();
  for (void* block : blocks) {
    put_block(*s, block);
    const std::uint64_t pages = purgeable_pages(*s);
    for (std::uint64_t left = pages; left != 0; left &= left - 1) {
      const std::uint64_t page = left & ~(left - 1);
      const unsigned before = s->free_count;
      claim_pages(*s, page);
      EXPECT_LT(s->free_count, before) << "a claim of nothing lets the slab be released meanwhile";
      EXPECT_FALSE(s->empty());
      unclaim_pages(*s, page, 0);
      EXPECT_EQ(s->free_count, before);
    }
  }
  check_slab_invariants(*s);
}

TEST_P(slab_purge_test, an_empty_slab_is_purgeable_to_its_last_page) {
  for (void* block : take_all())
    put_block(*s, block);
  const auto pages = static_cast<unsigned>(s->info().units * unit_bytes >> os::page_shift);
  const std::uint64_t all = purgeable_pages(*s);
  EXPECT_EQ(all, low_bits(pages));
  claim_pages(*s, all);
  EXPECT_EQ(s->free_count, 0u);
  unclaim_pages(*s, all, all);
  EXPECT_EQ(purgeable_pages(*s), 0u) << "no second purge of what is purged";
  check_slab_invariants(*s);
  take_all();
  EXPECT_EQ(s->purged_pages, 0u) << "pages in use are not purged";
}

TEST_P(slab_purge_test, a_live_block_keeps_its_pages) {
  const std::vector<void*> blocks = take_all();
  for (std::size_t kept = 0; kept < blocks.size(); kept += blocks.size() / 4 + 1) {
    for (std::size_t index = 0; index < blocks.size(); ++index)
      if (index != kept)
        put_block(*s, blocks[index]);
    const std::uint64_t pages = purgeable_pages(*s);
    const auto offset = static_cast<std::size_t>(static_cast<char*>(blocks[kept]) - begin);
    for (std::size_t at = offset; at < offset + s->info().block_bytes; ++at)
      ASSERT_EQ(pages >> (at >> os::page_shift) & 1, 0u);
    put_block(*s, blocks[kept]);
    take_all();
  }
}

INSTANTIATE_TEST_SUITE_P(every_class, slab_purge_test, ::testing::Range(0u, class_count));

} // namespace
} // namespace mete::heap
