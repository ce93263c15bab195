// SPDX-License-Identifier: MIT
// One side allocates, the other frees: every free is a remote one. The pattern of the "asymmetric"
// benchmarks (E. Berger et al., Hoard, ASPLOS 2000, describe the blow-up that it causes; mimalloc's
// xmalloc-test is the usual program for it). Modes: 1:1, 1:n, n:1 and two-way (two threads that are
// both). Blocks travel in batches, so that the queue's lock is not what is measured.

#include "support.hpp"

#include <atomic>

namespace {

constexpr std::size_t batch_blocks = 128;
constexpr std::size_t channel_batches = 32;

struct batch {
  void* blocks[batch_blocks];
};

// A bounded queue of batches under one lock.
class channel {
public:
  void push(const batch& full) {
    pthread_mutex_lock(&lock_);
    while (used_ == channel_batches) {
      pthread_cond_wait(&not_full_, &lock_);
    }
    batches_[(first_ + used_++) % channel_batches] = full;
    pthread_cond_signal(&not_empty_);
    pthread_mutex_unlock(&lock_);
  }

  // False when the channel is closed and drained.
  bool pop(batch& out) {
    pthread_mutex_lock(&lock_);
    while (used_ == 0 && !closed_) {
      pthread_cond_wait(&not_empty_, &lock_);
    }
    const bool got = used_ > 0;
    if (got) {
      out = batches_[first_];
      first_ = (first_ + 1) % channel_batches;
      --used_;
      pthread_cond_signal(&not_full_);
    }
    pthread_mutex_unlock(&lock_);
    return got;
  }

  void close() {
    pthread_mutex_lock(&lock_);
    closed_ = true;
    pthread_cond_broadcast(&not_empty_);
    pthread_mutex_unlock(&lock_);
  }

private:
  pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t not_full_ = PTHREAD_COND_INITIALIZER;
  pthread_cond_t not_empty_ = PTHREAD_COND_INITIALIZER;
  bool closed_ = false;
  std::size_t first_ = 0;
  std::size_t used_ = 0;
  batch batches_[channel_batches];
};

channel channels[2];
std::atomic<std::uint64_t> bytes_made;
std::atomic<std::uint64_t> bytes_freed;

std::uint64_t fill(batch& out, bench::random_source& random) {
  std::uint64_t bytes = 0;
  for (void*& block : out.blocks) {
    const std::uint64_t size = random.between(16, 512);
    block = bench::marked_block::make(size);
    bytes += size;
  }
  return bytes;
}

std::uint64_t drain(const batch& in) {
  std::uint64_t bytes = 0;
  for (void* block : in.blocks) {
    bytes += bench::marked_block::release(block);
  }
  return bytes;
}

void produce(std::uint64_t seed, std::uint64_t batches) {
  bench::random_source random(seed);
  batch next;
  for (std::uint64_t i = 0; i < batches; ++i) {
    bytes_made += fill(next, random);
    channels[0].push(next);
  }
}

void consume() {
  batch next;
  while (channels[0].pop(next)) {
    bytes_freed += drain(next);
  }
}

void exchange(unsigned side, std::uint64_t seed, std::uint64_t batches) {
  bench::random_source random(seed);
  batch next;
  for (std::uint64_t i = 0; i < batches; ++i) {
    bytes_made += fill(next, random);
    channels[side].push(next);
    bench::check(channels[1 - side].pop(next), "the other side ended early");
    bytes_freed += drain(next);
  }
}

void run_one_way(unsigned producers, unsigned consumers, std::uint64_t seed,
                 std::uint64_t batches) {
  std::atomic<unsigned> producing = producers;
  bench::run_threads(producers + consumers, [&](unsigned index) {
    if (index >= producers) {
      consume();
      return;
    }
    produce(seed + index, batches / producers);
    if (--producing == 0) {
      channels[0].close();
    }
  });
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const char* mode = arguments.text("--mode", "1:1");
  const unsigned many = arguments.threads(4);
  const std::uint64_t batches = arguments.number("--batches", 150'000, 9'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  if (std::strcmp(mode, "1:1") == 0) {
    run_one_way(1, 1, seed, batches);
  } else if (std::strcmp(mode, "1:n") == 0) {
    run_one_way(1, many, seed, batches);
  } else if (std::strcmp(mode, "n:1") == 0) {
    run_one_way(many, 1, seed, batches);
  } else if (std::strcmp(mode, "two-way") == 0) {
    bench::run_threads(2, [&](unsigned side) { exchange(side, seed + side, batches / 2); });
  } else {
    bench::fail("--mode takes 1:1, 1:n, n:1 or two-way");
  }
  bench::check(bytes_made == bytes_freed && bytes_made > 0, "blocks were lost between the threads");
  return 0;
}
