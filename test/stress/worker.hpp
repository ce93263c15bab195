// One slot of the stress: a stream of operations on a pool of blocks. Threads come and go, slots
// stay: a new thread goes on with the pool and the inbox that the one before it left, so blocks
// outlive the threads that made them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <block_pattern.hpp>
#include <check.hpp>

namespace stress {

using mete::test::block;
using mete::test::pattern;

// Blocks on their way from one thread to another. Bounded.
class inbox {
public:
  // False when full.
  bool put(const block& each);
  // False when empty.
  bool take(block& each);

private:
  static constexpr std::size_t capacity = 512;
  std::mutex mutex_;
  std::array<block, capacity> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

// What all slots share.
struct shared_state {
  std::size_t max_live_bytes = 0;
  std::atomic<std::size_t> live_bytes{0};
  std::atomic<std::size_t> peak_bytes{0};
  std::atomic<bool> stop{false};
};

class worker {
public:
  static constexpr std::size_t max_workers = 64;

  worker() = default;
  worker(const worker&) = delete;

  // REQUIRES: before the first life; `all` are `count` workers, this one among them.
  void set_up(std::size_t index, worker* all, std::size_t count, std::uint64_t seed,
              std::uint64_t operations, shared_state& shared);

  // What one thread does before it dies: some thousand operations.
  void live();
  bool is_done() const { return operations_ >= wanted_operations_ || shared_->stop.load(); }

  // Frees what is left. After the last life of all workers.
  void clear();

  std::uint64_t operations() const { return operations_; }
  std::uint64_t handed_over() const { return handed_over_; }
  std::uint64_t lives() const { return lives_; }

private:
  static constexpr std::size_t pool_capacity = 8192;

  void step();
  void make();
  void free_one();
  void resize_one();
  void send_some();
  void receive_some();

  std::size_t random_size();
  block pull(std::size_t index);
  void keep(const block& each);
  void release(const block& each);
  void note_live(std::size_t added);
  void verify(const block& each, const char* when) const;
  [[noreturn]] void violation(const block& each, const char* what, std::size_t offset) const;

  std::size_t index_ = 0;
  worker* all_ = nullptr;
  std::size_t count_ = 0;
  std::uint64_t seed_ = 0;
  std::uint64_t wanted_operations_ = 0;
  shared_state* shared_ = nullptr;

  random_source random_{0};
  std::uint64_t operations_ = 0;
  std::uint64_t handed_over_ = 0;
  std::uint64_t lives_ = 0;
  std::uint64_t serial_ = 0;
  std::size_t pool_size_ = 0;
  std::array<block, pool_capacity> pool_;
  inbox inbox_;
};

} // namespace stress
