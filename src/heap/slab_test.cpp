// Slabs of every class against a model that knows the state of each block. Of their memory nothing
// is touched but the marks of free blocks, so all of them lie at the same address.
//
// SPDX-License-Identifier: MIT
#include "heap/slab.hpp"

#include "heap/freed_mark.hpp"
#include "os/memory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace mete::heap {
namespace {

// Also for the children of death tests, whose reports name an address in it.
char* memory_of_slabs() {
  static char* const memory =
      static_cast<char*>(::mmap(nullptr, 4 * unit_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return memory;
}

class test_slab {
public:
  explicit test_slab(unsigned class_index, bool zeroed = true) {
    os::initialise_memory();
    const size_class& info = size_classes[class_index];
    storage_ = std::make_unique<line[]>(info.descriptor_bytes / sizeof(line));
    slab_ = new (storage_.get()) slab;
    initialise_slab(*slab_, class_index, memory_of_slabs(), zeroed);
    slab_->remote.owner.store(&pending);
  }
  slab& operator*() { return *slab_; }
  slab* operator->() { return slab_; }

  // Up to `wanted` blocks, as indices.
  std::vector<unsigned> take(unsigned wanted, bool avoid_purged = false) {
    std::vector<void*> out(wanted);
    const unsigned taken = take_blocks(*slab_, out.data(), wanted, fresh_from, avoid_purged);
    std::vector<unsigned> indices;
    for (unsigned at = 0; at < taken; ++at)
      indices.push_back(block_index(*slab_, out[at]));
    return indices;
  }
  void put(unsigned index) { put_block(*slab_, slab_->block(index)); }
  void free_remotely(unsigned index) {
    ASSERT_EQ(deliver(slab_->remote_bits(), index / 64, std::uint64_t{1} << (index % 64)), 0u);
    publish(slab_->remote, 1);
  }
  void drain_all() {
    drain(pending, [this](remote_state<>&) { collect_remote(*slab_); });
  }

  pending_list<> pending;
  unsigned fresh_from = 0;

private:
  struct alignas(64) line {
    char bytes[64] = {};
  };
  std::unique_ptr<line[]> storage_;
  slab* slab_;
};

TEST(slab_test, blocks_come_in_the_order_of_their_addresses) {
  test_slab s(3);
  EXPECT_EQ(s.take(3), (std::vector<unsigned>{0, 1, 2}));
  EXPECT_EQ(s.fresh_from, 0u);
  EXPECT_EQ(s.take(4), (std::vector<unsigned>{3, 4, 5, 6}));
  for (unsigned index : {5u, 1u, 3u})
    s.put(index);
  EXPECT_EQ(s->free_count, 3u);
  EXPECT_EQ(s.take(5), (std::vector<unsigned>{1, 3, 5, 7, 8}));
  EXPECT_EQ(s.fresh_from, 3u) << "used blocks are not fresh, those behind the frontier are";
  check_slab_invariants(*s);
}

TEST(slab_test, blocks_of_units_that_were_used_before_are_never_fresh) {
  test_slab s(3, false);
  EXPECT_EQ(s.take(3).size(), 3u);
  EXPECT_EQ(s.fresh_from, 3u);
}

TEST(slab_test, it_ends_at_its_capacity) {
  for (unsigned index = 0; index < class_count; ++index) {
    test_slab s(index);
    const unsigned capacity = size_classes[index].capacity;
    EXPECT_EQ(s.take(capacity - 1).size(), capacity - 1);
    EXPECT_EQ(s.take(10), (std::vector<unsigned>{capacity - 1}));
    EXPECT_EQ(s->frontier(), capacity);
    EXPECT_EQ(s->free_count, 0u);
    EXPECT_TRUE(s.take(10).empty());
    EXPECT_FALSE(s->empty());
    for (unsigned block = 0; block < capacity; ++block)
      s.put(block);
    EXPECT_TRUE(s->empty());
    EXPECT_TRUE(releasable(*s));
    check_slab_invariants(*s);
  }
}

TEST(slab_test, remote_frees_come_home_once_their_list_is_drained) {
  test_slab s(0);
  s.take(200);
  for (unsigned index = 0; index < 200; index += 3)
    s.free_remotely(index);
  EXPECT_EQ(s->free_count, 0u);
  EXPECT_FALSE(s.pending.empty());
  s.drain_all();
  EXPECT_EQ(s->free_count, 67u);
  check_slab_invariants(*s);
  EXPECT_EQ(s.take(3), (std::vector<unsigned>{0, 3, 6}));
  for (unsigned index : {0u, 3u, 6u})
    s.put(index);
  for (unsigned index = 0; index < 200; ++index)
    if (index % 3 != 0)
      s.put(index);
  EXPECT_TRUE(releasable(*s));
}

TEST(slab_test, it_stays_while_a_freer_is_on_the_way) {
  test_slab s(0);
  s.take(3);
  s.put(0);
  s.free_remotely(1);
  ASSERT_EQ(deliver(s->remote_bits(), 0, 4), 0u); // block 2: delivered, not published yet
  s.drain_all();
  EXPECT_TRUE(s->empty());
  EXPECT_FALSE(releasable(*s));
  publish(s->remote, 1);
  EXPECT_FALSE(releasable(*s));
  s.drain_all();
  EXPECT_TRUE(releasable(*s));
}

// --- Purging

unsigned page_count(const slab& s) {
  return static_cast<unsigned>(s.info().units * unit_bytes / os::page_bytes);
}

// By the definition: a page is purgeable if every block that touches it is free. What is left over
// behind the last block belongs to it.
std::uint64_t purgeable_by_definition(slab& s, const std::set<unsigned>& used) {
  std::uint64_t pages = 0;
  for (std::size_t page = 0; page < page_count(s); ++page) {
    const std::size_t begin = page * os::page_bytes;
    const std::size_t end = begin + os::page_bytes;
    const bool touched = std::any_of(used.begin(), used.end(), [&](unsigned index) {
      const std::size_t block = std::size_t{index} * s.info().block_bytes;
      const std::size_t behind = index + 1u == s.info().capacity ? s.info().units * unit_bytes
                                                                 : block + s.info().block_bytes;
      return block < end && behind > begin;
    });
    if (!touched)
      pages |= std::uint64_t{1} << page;
  }
  return pages & ~s.purged_pages;
}

TEST(slab_test, what_was_never_touched_is_not_purged_where_it_came_clean) {
  test_slab s(class_of(1024));
  s.take(1);
  s.put(0);
  EXPECT_EQ(purgeable_pages(*s), 0u) << "three blocks of the first page were never handed out";
  for (unsigned block : s.take(static_cast<unsigned>(os::page_bytes / 1024)))
    s.put(block);
  EXPECT_EQ(purgeable_pages(*s), 1u);
}

TEST(slab_test, what_was_never_touched_is_purged_where_it_came_dirty) {
  test_slab s(class_of(1024), false);
  s.take(1);
  EXPECT_EQ(purgeable_pages(*s), low_bits(page_count(*s)) & ~1u);
  EXPECT_EQ(s->frontier(), s->info().capacity);
  check_slab_invariants(*s);
}

TEST(slab_test, claimed_blocks_are_nobodys_until_they_are_unclaimed) {
  os::initialise_memory();
  const std::size_t bytes = os::page_bytes <= 16 * KiB ? os::page_bytes / 4 : os::page_bytes / 2;
  test_slab s(class_of(bytes));
  const auto per_page = static_cast<unsigned>(os::page_bytes / bytes);
  s.take(s->info().capacity);
  for (unsigned block = 0; block < 3 * per_page; ++block)
    s.put(block);
  const std::uint64_t pages = purgeable_pages(*s);
  EXPECT_EQ(pages, 7u);
  claim_pages(*s, 6u);
  EXPECT_EQ(s->free_count, per_page);
  EXPECT_EQ(s.take(4 * per_page).size(), per_page) << "only the page that was not claimed";
  unclaim_pages(*s, 6u, 6u);
  EXPECT_EQ(s->free_count, 2 * per_page);
  EXPECT_EQ(s->purged_pages, 6u);
  EXPECT_EQ(purgeable_pages(*s), 0u) << "not a second time";
  check_slab_invariants(*s);
  EXPECT_EQ(s.take(1), (std::vector<unsigned>{per_page}));
  EXPECT_EQ(s->purged_pages, 4u) << "in use again";
}

TEST(slab_test, fresh_blocks_that_wait_in_a_cache_bear_the_mark_and_so_does_their_neighbour) {
  page::prepare_first_region(); // of which the mark is
  test_slab s(class_of(48));
  std::memset(memory_of_slabs(), 0, unit_bytes);
  s.take(3);
  for (unsigned block = 0; block < 4; ++block)
    EXPECT_TRUE(is_marked_freed(s->block(block))) << block;
  EXPECT_FALSE(is_marked_freed(s->block(4)));
}

TEST(slab_test, a_page_that_was_purged_gets_its_marks_back_when_it_is_used) {
  page::prepare_first_region(); // of which the mark is
  constexpr std::size_t bytes = 1024;
  test_slab s(class_of(bytes));
  const auto per_page = static_cast<unsigned>(os::page_bytes / bytes);
  s.take(3 * per_page);
  for (unsigned block = 0; block < 2 * per_page; ++block)
    s.put(block);
  const std::uint64_t pages = purgeable_pages(*s);
  ASSERT_EQ(pages, 3u);
  claim_pages(*s, pages);
  EXPECT_EQ(s->purged_pages, pages) << "from now on the marks may vanish";
  std::memset(memory_of_slabs(), 0, 2 * os::page_bytes);
  unclaim_pages(*s, pages, pages);
  ASSERT_EQ(s.take(1), (std::vector<unsigned>{0}));
  for (unsigned block = 0; block < per_page; ++block)
    EXPECT_TRUE(is_marked_freed(s->block(block))) << block;
  EXPECT_FALSE(is_marked_freed(s->block(per_page))) << "a page that stays purged is not touched";
}

TEST(slab_test, a_failed_purge_leaves_no_trace) {
  test_slab s(class_of(4096));
  for (unsigned block : s.take(s->info().capacity))
    s.put(block);
  const std::uint64_t pages = purgeable_pages(*s);
  ASSERT_NE(pages, 0u);
  claim_pages(*s, pages);
  unclaim_pages(*s, pages, 0);
  EXPECT_EQ(s->purged_pages, 0u);
  EXPECT_EQ(purgeable_pages(*s), pages);
}

// Random operations on slabs of every class; the model is the set of blocks that are out.
TEST(slab_test, agrees_with_a_model) {
  std::mt19937 source(1);
  const auto random = [&source] { return static_cast<unsigned>(source()); };
  for (unsigned index = 0; index < class_count; ++index) {
    test_slab s(index, index % 2 == 0);
    const unsigned capacity = size_classes[index].capacity;
    std::set<unsigned> used, remote;
    const auto any = [&](const std::set<unsigned>& from) {
      return *std::next(from.begin(), static_cast<std::ptrdiff_t>(random() % from.size()));
    };
    for (int step = 0; step < 300; ++step) {
      const unsigned action = random() % 8;
      if (action < 3) {
        const bool avoid_purged = random() % 2 == 0;
        const bool has_unpurged = s->has_unpurged() || s->frontier() < capacity;
        const std::uint64_t purged_before = s->purged_pages;
        const std::vector<unsigned> taken = s.take(1 + random() % (1 + capacity / 4), avoid_purged);
        if (avoid_purged) {
          ASSERT_EQ(s->purged_pages, purged_before);
          ASSERT_EQ(!taken.empty(), has_unpurged);
        }
        ASSERT_TRUE(std::is_sorted(taken.begin(), taken.end()));
        for (unsigned block : taken) {
          ASSERT_FALSE(remote.contains(block));
          ASSERT_TRUE(used.insert(block).second) << "handed out twice";
        }
      } else if (action < 6) {
        for (unsigned count = random() % (1 + capacity / 3); count > 0 && !used.empty(); --count) {
          const unsigned block = any(used);
          used.erase(block);
          if (random() % 3 == 0) {
            s.free_remotely(block);
            remote.insert(block);
          } else {
            s.put(block);
          }
        }
      } else if (action == 6) {
        s.drain_all();
        remote.clear();
      } else {
        std::set<unsigned> not_free = used;
        not_free.insert(remote.begin(), remote.end());
        const unsigned frontier_before = s->frontier();
        std::uint64_t expected = purgeable_by_definition(*s, not_free);
        const std::uint64_t pages = purgeable_pages(*s);
        if (s->frontier() == frontier_before && frontier_before < capacity) {
          // Pages beyond the frontier are clean already.
          for (unsigned block = frontier_before; block < capacity; ++block)
            not_free.insert(block);
          expected = purgeable_by_definition(*s, not_free);
        }
        ASSERT_EQ(pages, expected) << "blocks of " << s->info().block_bytes;
        claim_pages(*s, pages);
        const bool done = random() % 4 != 0;
        unclaim_pages(*s, pages, done ? pages : 0);
        ASSERT_EQ(s->purged_pages & pages, done ? pages : 0);
      }
      ASSERT_EQ(s->frontier() - s->free_count, used.size() + remote.size());
      check_slab_invariants(*s);
    }
  }
}

// --- Misuse

std::string report(const char* what, const void* address, const std::string& known) {
  return (std::ostringstream() << "mete: " << what << " of " << address << ": " << known).str();
}

TEST(slab_death_test, a_block_put_twice_is_reported) {
  test_slab s(2);
  s.take(5);
  s.put(3);
  EXPECT_DEATH(s.put(3),
               report("double free", s->block(3), "the block of 48 bytes is free already"));
}

TEST(slab_death_test, a_block_freed_here_and_elsewhere_is_reported) {
  test_slab s(2);
  s.take(5);
  s.put(3);
  s.free_remotely(3);
  EXPECT_DEATH(s.drain_all(), report("double free", s->block(3), "the block of 48 bytes"));
}

TEST(slab_death_test, a_pointer_into_a_block_is_reported) {
  test_slab s(2);
  s.take(5);
  std::ostringstream known;
  known << "it points 8 bytes into the block of 48 bytes at " << static_cast<void*>(s->block(1));
  EXPECT_DEATH(put_block(*s, s->block(1) + 8),
               report("invalid free", s->block(1) + 8, known.str()));
}

TEST(slab_death_test, a_block_that_was_never_handed_out_is_reported) {
  test_slab s(2);
  s.take(5);
  EXPECT_DEATH(s.put(5), report("invalid free", s->block(5), "no block was ever handed out there"));
}

} // namespace
} // namespace mete::heap
