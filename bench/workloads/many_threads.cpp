// SPDX-License-Identifier: MIT
// Far more threads than processors, as in a server with a thread for each connection. Every thread
// keeps a session: blocks of 16 bytes to 4 KiB that outlive its requests. A request makes and frees
// some hundred blocks of such sizes, replaces a part of the session, and wakes the next thread;
// so only `--active` threads run at a time, all others sleep. `--active 0`: all run all the time.
// Prints how much memory is resident when all have slept for a second, sessions alive. Our own
// scenario, for what the design of tcmalloc names as the reason for its caches per processor: with
// those of threads, memory grows with their number.

#include "support.hpp"

#include <atomic>

namespace {

constexpr std::size_t session_blocks = 48;
constexpr std::size_t request_blocks = 64;
constexpr unsigned request_steps = 300;
constexpr unsigned replaced_per_request = 6;

// Puts a thread to sleep until another one signals it.
class bell {
public:
  void ring() {
    pthread_mutex_lock(&mutex_);
    rung_ = true;
    pthread_cond_signal(&condition_);
    pthread_mutex_unlock(&mutex_);
  }
  void await() {
    pthread_mutex_lock(&mutex_);
    while (!rung_) {
      pthread_cond_wait(&condition_, &mutex_);
    }
    rung_ = false;
    pthread_mutex_unlock(&mutex_);
  }

private:
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
  bool rung_ = false;
};

// Four of five blocks are small.
std::uint64_t block_size(bench::random_source& random) {
  return random.below(5) != 0 ? random.log_uniform(16, 256) : random.log_uniform(256, 4096);
}

class session {
public:
  explicit session(std::uint64_t seed) : random_(seed) {
    for (void*& block : kept_) {
      block = bench::marked_block::make(block_size(random_));
    }
  }
  ~session() {
    for (void* block : kept_) {
      bench::marked_block::release(block);
    }
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void serve_request() {
    void* blocks[request_blocks] = {};
    for (unsigned step = 0; step < request_steps; ++step) {
      replace(blocks[random_.below(request_blocks)]);
    }
    for (unsigned step = 0; step < replaced_per_request; ++step) {
      replace(kept_[random_.below(session_blocks)]);
    }
    for (void* block : blocks) {
      if (block != nullptr) {
        bench::marked_block::release(block);
      }
    }
  }

private:
  void replace(void*& block) {
    if (block != nullptr) {
      bench::marked_block::release(block);
    }
    block = bench::marked_block::make(block_size(random_));
  }

  bench::random_source random_;
  void* kept_[session_blocks];
};

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const unsigned threads = arguments.threads(256);
  const auto active = static_cast<unsigned>(arguments.number("--active", 2, 2));
  const std::uint64_t requests = arguments.number("--requests", 60'000, 10'000);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::table<bell> bells(threads);
  bell end;
  std::atomic<unsigned> running{threads};
  std::atomic<bool> over{false};
  const auto watch = [&] {
    for (unsigned first = 0; first < threads && first < active; ++first) {
      bells[first].ring();
    }
    end.await();
    if (active != 0) { // else they sleep at no time
      bench::sleep_milliseconds(1000);
      bench::metric("idle_1s", bench::mebibytes(bench::resident_bytes()), "MiB");
    }
    over = true;
    for (bell& each : bells) {
      each.ring();
    }
  };
  bench::run_threads(threads + 1, [&](unsigned index) {
    if (index == threads) {
      return watch();
    }
    // Thread i wakes i + active, and the last ones the first: each of the active keeps to its row.
    const unsigned next = index + active < threads ? index + active : index % (active | !active);
    session own(seed * 7919 + index);
    for (std::uint64_t served = 0; served < requests / threads; ++served) {
      if (active != 0) {
        bells[index].await();
      }
      own.serve_request();
      if (active != 0) {
        bells[next].ring();
      }
    }
    if (--running == 0) {
      end.ring();
    }
    while (!over) {
      bells[index].await();
    }
  });
  return 0;
}
