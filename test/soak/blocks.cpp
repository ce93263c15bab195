// SPDX-License-Identifier: MIT
#include "blocks.hpp"

#include <malloc.h>
#include <new>

namespace soak {

namespace {

// Blocks up to this size are filled and checked whole; of larger ones, 16 bytes in each 4 KiB and
// the last 16, so that a soak is not a test of memset.
constexpr std::size_t filled_whole = 128 * kib;
constexpr std::size_t stride = 4 * kib;
constexpr std::size_t sample = 16;

std::uint64_t word_at(std::uint32_t key, std::size_t offset) {
  return (offset + key) * 0x9e3779b97f4a7c15u ^ key;
}

// Calls visit(begin, end) for the parts of a block that are filled.
template <class Visit>
void for_each_part(std::size_t size, Visit visit) {
  if (size <= filled_whole) {
    visit(std::size_t{0}, size);
    return;
  }
  for (std::size_t at = 0; at + sample <= size; at += stride) {
    visit(at, at + sample);
  }
  visit((size - sample) & ~std::size_t{7}, size); // in step with the parts before it
}

void fill(const block& block) {
  for_each_part(block.size, [&](std::size_t at, std::size_t end) {
    for (; at < end; at += 8) {
      const std::uint64_t word = word_at(block.key, at);
      std::memcpy(block.address + at, &word, std::min<std::size_t>(8, end - at));
    }
  });
}

// Whether the first `kept` bytes are as fill() left them.
bool is_intact(const block& block, std::size_t kept) {
  bool intact = true;
  for_each_part(block.size, [&](std::size_t at, std::size_t end) {
    end = std::min(end, kept);
    for (; at < end; at += 8) {
      const std::uint64_t word = word_at(block.key, at);
      intact &= std::memcmp(block.address + at, &word, std::min<std::size_t>(8, end - at)) == 0;
    }
  });
  return intact;
}

bool is_zero(const unsigned char* address, std::size_t size) {
  bool zero = true;
  for_each_part(size, [&](std::size_t at, std::size_t end) {
    zero &= all_bytes_are(address + at, end - at, 0);
  });
  return zero;
}

// The functions that take no alignment, and those that take one.
void* allocate_plain(block& wanted, random_source& random) {
  const std::size_t size = wanted.size;
  switch (random.below(8)) {
  case 0: {
    auto* fresh = static_cast<unsigned char*>(calloc(1, size));
    CHECK(fresh == nullptr || is_zero(fresh, size));
    return fresh;
  }
  case 1:
    return realloc(nullptr, size);
  case 2:
    return reallocarray(nullptr, 1, size);
  case 3:
    wanted.made_by = origin::scalar_new;
    return ::operator new(size, std::nothrow);
  case 4:
    wanted.made_by = origin::array_new;
    return ::operator new[](size, std::nothrow);
  case 5:
    wanted.made_by = origin::sized_new;
    try {
      return ::operator new(size);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  default:
    return malloc(size);
  }
}

// Not every allocator replaces this one, and a block of the C library is not theirs to free.
const bool has_pvalloc = check_object_of("pvalloc") == check_object_of("malloc");

void* allocate_aligned(block& wanted, random_source& random) {
  // Mostly to what vectors and cache lines need, at times to pages and far more.
  wanted.alignment = std::size_t{16}
                     << (random.below(20) == 0 ? random.below(17) : random.below(5));
  void* result = nullptr;
  switch (random.below(5)) {
  case 0:
    return aligned_alloc(wanted.alignment, wanted.size);
  case 1:
    return posix_memalign(&result, wanted.alignment, wanted.size) == 0 ? result : nullptr;
  case 2:
    return memalign(wanted.alignment, wanted.size);
  case 3:
    wanted.alignment = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return has_pvalloc && random.below(2) == 0 ? pvalloc(wanted.size) : valloc(wanted.size);
  default:
    wanted.made_by = origin::aligned_new;
    return ::operator new (wanted.size, std::align_val_t{wanted.alignment}, std::nothrow);
  }
}

// What every allocator owes to every block: 16 bytes, but no more than the block could use.
std::size_t natural_alignment(std::size_t size) {
  return size >= 16 ? 16 : size >= 8 ? 8 : 1;
}

void refused(std::uint64_t tightness_before, std::size_t size) {
  if (tightness_before % 2 == 0 && tightness.load() == tightness_before) {
    printf("%zu bytes were refused, but no limit is tight\n", size);
    check_failed(__FILE__, __LINE__, "memory is had", "");
  }
  ++progress->refused;
}

struct cell {
  std::atomic_flag taken;
  block content;
};
cell exchange[300];

} // namespace

block make_block(random_source& random, unsigned size_bits) {
  block made;
  made.size = random.size_between(0, size_bits);
  made.key = static_cast<std::uint32_t>(random.next());
  const std::uint64_t before = tightness.load();
  made.address = static_cast<unsigned char*>(random.below(6) == 0 ? allocate_aligned(made, random)
                                                                  : allocate_plain(made, random));
  if (made.address == nullptr) {
    refused(before, made.size);
    return {};
  }
  if (!is_aligned(made.address, std::max(made.alignment, natural_alignment(made.size)))) {
    printf("%p for %zu bytes aligned to %zu\n", static_cast<void*>(made.address), made.size,
           made.alignment);
    check_failed(__FILE__, __LINE__, "blocks are aligned", "");
  }
  if (made.made_by == origin::malloc && random.below(4) == 0) {
    const std::size_t usable = malloc_usable_size(made.address);
    CHECK_GE(usable, made.size);
    made.size = usable;
  }
  fill(made);
  return made;
}

void check_block(const block& block) {
  if (block.address != nullptr && !is_intact(block, block.size)) {
    printf("pid %d: the block of %zu bytes at %p is not what was written\n", getpid(), block.size,
           static_cast<void*>(block.address));
    check_failed(__FILE__, __LINE__, "contents are intact", "");
  }
}

void resize_block(block& changed, random_source& random, unsigned size_bits) {
  if (changed.address == nullptr || changed.made_by != origin::malloc) {
    return;
  }
  const std::size_t size = random.size_between(0, size_bits);
  const std::uint64_t before = tightness.load();
  auto* moved = static_cast<unsigned char*>(realloc(changed.address, size));
  if (moved == nullptr) {
    refused(before, size);
    check_block(changed);
    return;
  }
  changed.address = moved;
  if (!is_intact(changed, std::min(size, changed.size))) {
    printf("pid %d: realloc from %zu to %zu bytes lost contents\n", getpid(), changed.size, size);
    check_failed(__FILE__, __LINE__, "realloc keeps contents", "");
  }
  changed.size = size;
  changed.alignment = 0;
  fill(changed);
}

void free_block(block& freed) {
  check_block(freed);
  switch (freed.made_by) {
  case origin::malloc:
    free(freed.address);
    break;
  case origin::scalar_new:
    ::operator delete(freed.address);
    break;
  case origin::array_new:
    ::operator delete[](freed.address);
    break;
  case origin::aligned_new:
    ::operator delete (freed.address, std::align_val_t{freed.alignment});
    break;
  case origin::sized_new:
    ::operator delete(freed.address, freed.size);
    break;
  }
  freed = {};
}

void hand_over(block& given, random_source& random) {
  cell& chosen = exchange[random.below(std::size(exchange))];
  if (chosen.taken.test_and_set(std::memory_order_acquire)) {
    return;
  }
  std::swap(chosen.content, given);
  chosen.taken.clear(std::memory_order_release);
}

void empty_the_exchange() {
  for (cell& each : exchange) {
    free_block(each.content);
  }
}

void holder::step(random_source& random, bool others_may_have_it) {
  block& chosen = blocks_[random.below(capacity)];
  // One in a thousand is large enough for a mapping of its own.
  const unsigned bits = random.below(1000) == 0 ? 26 : random.below(50) == 0 ? 21 : 15;
  if (chosen.address == nullptr) {
    chosen = make_block(random, bits);
    return;
  }
  switch (random.below(others_may_have_it ? 5 : 3)) {
  case 0:
    resize_block(chosen, random, bits);
    break;
  case 1:
  case 2:
    free_block(chosen);
    break;
  default:
    hand_over(chosen, random);
  }
}

void holder::check_all() const {
  for (const block& each : blocks_) {
    check_block(each);
  }
}

void holder::free_all() {
  for (block& each : blocks_) {
    free_block(each);
  }
}

void holder::free_some(random_source& random) {
  for (block& each : blocks_) {
    if (random.below(3) != 0) {
      free_block(each);
    }
  }
}

} // namespace soak
