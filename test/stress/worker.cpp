// SPDX-License-Identifier: MIT
#include "worker.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "subject.hpp"

namespace stress {

namespace {

constexpr std::size_t minimum_alignment = 16;

// How likely each operation is, in percent, in each phase of a slot; the rest receives.
struct phase {
  unsigned make;
  unsigned free;
  unsigned resize;
  unsigned send;
};
constexpr std::array<phase, 4> phases{{
    {62, 18, 12, 2}, // grow
    {38, 32, 14, 4}, // steady
    {10, 70, 8, 1},  // shrink
    {0, 0, 0, 0},    // idle
}};
constexpr std::size_t idle_phase = 3;
constexpr std::uint64_t phase_operations = 20'000;
constexpr auto idle_time = std::chrono::milliseconds(3);

} // namespace

bool inbox::put(const block& each) {
  const std::lock_guard lock(mutex_);
  if (count_ == capacity) {
    return false;
  }
  ring_[(first_ + count_++) % capacity] = each;
  return true;
}

bool inbox::take(block& each) {
  const std::lock_guard lock(mutex_);
  if (count_ == 0) {
    return false;
  }
  each = ring_[first_];
  first_ = (first_ + 1) % capacity;
  --count_;
  return true;
}

void worker::set_up(std::size_t index, worker* all, std::size_t count, std::uint64_t seed,
                    std::uint64_t operations, shared_state& shared) {
  index_ = index;
  all_ = all;
  count_ = count;
  seed_ = seed;
  wanted_operations_ = operations;
  shared_ = &shared;
}

void worker::live() {
  random_.state = (seed_ * worker::max_workers + index_) * 0xd1342543de82ef95U + lives_;
  ++lives_;
  for (std::size_t left = 500 + random_.below(16'000); left > 0 && !is_done(); --left) {
    step();
  }
  // Some threads tidy up before they go, most leave their blocks to others.
  if (random_.below(4) == 0) {
    while (pool_size_ > 0) {
      free_one();
    }
  }
}

void worker::clear() {
  while (pool_size_ > 0) {
    release(pull(pool_size_ - 1));
  }
  for (block each; inbox_.take(each);) {
    release(each);
  }
}

void worker::step() {
  const std::size_t now = operations_ / phase_operations % phases.size();
  ++operations_;
  if (now == idle_phase) {
    std::this_thread::sleep_for(idle_time);
    operations_ += phase_operations - 1;
    return;
  }
  const phase& odds = phases[now];
  const std::size_t dice = random_.below(100);
  if (dice < odds.make) {
    make();
  } else if (dice < odds.make + odds.free) {
    free_one();
  } else if (dice < odds.make + odds.free + odds.resize) {
    resize_one();
  } else if (dice < odds.make + odds.free + odds.resize + odds.send) {
    send_some();
  } else {
    receive_some();
  }
}

// ---- operations --------------------------------------------------------------------------------

void worker::make() {
  block each;
  each.size = random_size();
  each.serial = ++serial_ * worker::max_workers + index_;
  if (pool_size_ == pool_capacity ||
      shared_->live_bytes.load(std::memory_order_relaxed) + each.size > shared_->max_live_bytes) {
    return free_one();
  }
  std::size_t alignment = minimum_alignment;
  const std::size_t way = random_.below(16);
  void* memory = nullptr;
  if (way == 0) {
    alignment = std::size_t{32} << random_.below(12);
    memory = subject::allocate_aligned(alignment, each.size);
  } else if (way < 4) {
    memory = subject::allocate_zeroed(each.size);
  } else {
    memory = subject::allocate(each.size);
  }
  each.address = static_cast<unsigned char*>(memory);
  if (each.address == nullptr) {
    violation(each, "no memory for it", 0);
  }
  if (!is_aligned(memory, alignment)) {
    violation(each, "misaligned", alignment);
  }
  if (way > 0 && way < 4 && !all_bytes_are(memory, each.size, 0)) {
    violation(each, "from calloc, and not zero", 0);
  }
  note_live(each.size);
  keep(each);
}

void worker::free_one() {
  if (pool_size_ == 0) {
    return;
  }
  // The newest as often as any: programs free in stack order and in none.
  const std::size_t index = random_.below(2) == 0 ? pool_size_ - 1 : random_.below(pool_size_);
  release(pull(index));
}

void worker::resize_one() {
  if (pool_size_ == 0) {
    return;
  }
  const std::size_t index = random_.below(pool_size_);
  const block old = pool_[index];
  std::size_t size = random_size();
  if (random_.below(2) == 0) { // a little more or less, as growing strings do
    size = old.size / 2 + random_.below(old.size + 2);
  }
  size = std::max<std::size_t>(size, 1); // realloc to 0 frees
  if (size > old.size && shared_->live_bytes.load(std::memory_order_relaxed) + size - old.size >
                             shared_->max_live_bytes) {
    return;
  }
  verify(old, "before realloc");
  block grown{static_cast<unsigned char*>(subject::reallocate(old.address, size)), size,
              ++serial_ * worker::max_workers + index_};
  if (grown.address == nullptr) {
    violation(grown, "no memory to resize it", 0);
  }
  if (!is_aligned(grown.address, minimum_alignment)) {
    violation(grown, "misaligned after realloc", minimum_alignment);
  }
  const std::size_t kept = std::min(old.size, size);
  const std::size_t offset = pattern(old).first_difference(grown.address, kept);
  if (offset != kept) {
    violation(grown, "contents lost by realloc", offset);
  }
  shared_->live_bytes.fetch_sub(old.size, std::memory_order_relaxed);
  note_live(size);
  pull(index);
  keep(grown);
}

void worker::send_some() {
  worker& other = all_[random_.below(count_)];
  for (std::size_t left = 1 + random_.below(24); left > 0 && pool_size_ > 0; --left) {
    const std::size_t index = random_.below(pool_size_);
    if (!other.inbox_.put(pool_[index])) {
      return;
    }
    pull(index);
    ++handed_over_;
  }
}

void worker::receive_some() {
  block each;
  for (std::size_t left = 1 + random_.below(24); left > 0 && inbox_.take(each); --left) {
    verify(each, "as received from another thread");
    if (pool_size_ < pool_capacity && random_.below(2) == 0) {
      pool_[pool_size_++] = each;
    } else {
      release(each);
    }
  }
}

// ---- blocks ------------------------------------------------------------------------------------

// Each doubling is equally likely within a band; nine of ten are small, one in 128 up to 4 MiB.
std::size_t worker::random_size() {
  const std::size_t band = random_.below(256);
  if (band == 0) {
    return 0;
  }
  if (band < 230) {
    return random_.size_between(0, 10);
  }
  return band < 254 ? random_.size_between(10, 16) : random_.size_between(16, 22);
}

block worker::pull(std::size_t index) {
  const block each = pool_[index];
  pool_[index] = pool_[--pool_size_];
  return each;
}

void worker::keep(const block& each) {
  pattern(each).fill(each.address, each.size);
  pool_[pool_size_++] = each;
}

void worker::release(const block& each) {
  verify(each, "before free");
  shared_->live_bytes.fetch_sub(each.size, std::memory_order_relaxed);
  subject::deallocate(each.address);
}

void worker::note_live(std::size_t added) {
  const std::size_t live = shared_->live_bytes.fetch_add(added, std::memory_order_relaxed) + added;
  std::size_t peak = shared_->peak_bytes.load(std::memory_order_relaxed);
  while (live > peak &&
         !shared_->peak_bytes.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

void worker::verify(const block& each, const char* when) const {
  const std::size_t offset = pattern(each).first_difference(each.address, each.size);
  if (offset != each.size) {
    violation(each, when, offset);
  }
}

void worker::violation(const block& each, const char* what, std::size_t offset) const {
  char text[512];
  std::uint64_t found = 0;
  if (each.address != nullptr && offset < each.size) {
    std::memcpy(&found, each.address + offset, std::min<std::size_t>(8, each.size - offset));
  }
  const int length = std::snprintf(
      text, sizeof text,
      "stress: block %p of %zu bytes, serial %llu is wrong: %s (at %zu: 0x%016llx). "
      "Slot %zu of %zu, life %llu, operation %llu; again with --seed %llu --threads %zu\n",
      static_cast<void*>(each.address), each.size, static_cast<unsigned long long>(each.serial),
      what, offset, static_cast<unsigned long long>(found), index_, count_,
      static_cast<unsigned long long>(lives_), static_cast<unsigned long long>(operations_),
      static_cast<unsigned long long>(seed_), count_);
  check_print(text, static_cast<std::size_t>(length));
  std::abort();
}

} // namespace stress
