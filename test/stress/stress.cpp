// A multi-threaded stress of an allocator: random calls on threads that are born, hand blocks to
// each other and die, every block's contents verified before it is freed and after it is resized.
//
// The operations of each slot are a function of the seed alone; which blocks arrive from others,
// and when, is up to the scheduler. Build it with subject_process.cpp or subject_core.cpp.
//
// SPDX-License-Identifier: MIT
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "subject.hpp"
#include "worker.hpp"

namespace {

using stress::worker;

struct settings {
  std::uint64_t threads = 4;
  std::uint64_t seconds = 0;
  std::uint64_t operations = 0; // of each slot
  std::uint64_t seed = 1;
  std::uint64_t max_live_mib = 256;
};

[[noreturn]] void usage(const char* problem, const char* argument) {
  std::fprintf(stderr,
               "stress: %s: %s\n"
               "usage: stress [--threads 1..%zu] [--seconds N | --operations N] [--seed N] "
               "[--max-live-mib N]\n",
               problem, argument, worker::max_workers);
  std::exit(2);
}

settings parse(int count, char** arguments) {
  settings result;
  const struct {
    const char* name;
    std::uint64_t* value;
  } known[] = {{"--threads", &result.threads},
               {"--seconds", &result.seconds},
               {"--operations", &result.operations},
               {"--seed", &result.seed},
               {"--max-live-mib", &result.max_live_mib}};
  for (int index = 1; index < count; index += 2) {
    std::uint64_t* value = nullptr;
    for (const auto& each : known) {
      value = std::strcmp(each.name, arguments[index]) == 0 ? each.value : value;
    }
    if (value == nullptr) {
      usage("no such option", arguments[index]);
    }
    char* end = nullptr;
    *value = index + 1 < count ? std::strtoull(arguments[index + 1], &end, 10) : 0;
    if (end == nullptr || *end != '\0' || end == arguments[index + 1]) {
      usage("needs a number", arguments[index]);
    }
  }
  if (result.threads < 1 || result.threads > worker::max_workers) {
    usage("out of range", "--threads");
  }
  if (result.seconds != 0 && result.operations != 0) {
    usage("give one of them", "--seconds, --operations");
  }
  if (result.seconds == 0 && result.operations == 0) {
    result.seconds = 10;
  }
  return result;
}

// Keeps a thread running in every slot until the time is over or the operations are done.
class nursery {
public:
  nursery(worker* workers, const settings& chosen)
      : workers_(workers), threads_(chosen.threads), settings_(chosen) {}

  void run(stress::shared_state& shared) {
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::seconds(settings_.seconds != 0 ? settings_.seconds : 1'000'000);
    for (std::size_t slot = 0; slot < threads_.size(); ++slot) {
      give_birth(slot);
    }
    std::size_t alive = threads_.size();
    while (alive > 0) {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_until(lock, end, [this] { return !dead_.empty(); })) {
        shared.stop = true;
        changed_.wait(lock, [this] { return !dead_.empty(); });
      }
      const std::size_t slot = dead_.front();
      dead_.pop_front();
      lock.unlock();
      threads_[slot].join();
      if (workers_[slot].is_done()) {
        --alive;
      } else {
        give_birth(slot);
      }
    }
  }

private:
  void give_birth(std::size_t slot) {
    threads_[slot] = std::thread([this, slot] {
      workers_[slot].live();
      const std::lock_guard lock(mutex_);
      dead_.push_back(slot);
      changed_.notify_one();
    });
  }

  worker* workers_;
  std::vector<std::thread> threads_;
  const settings& settings_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::size_t> dead_;
};

} // namespace

int main(int count, char** arguments) {
  const settings chosen = parse(count, arguments);
  const char* name = stress::subject::prepare();
  stress::shared_state shared;
  shared.max_live_bytes = chosen.max_live_mib * mib;
  const auto owned = std::make_unique<worker[]>(chosen.threads);
  worker* workers = owned.get();
  for (std::size_t slot = 0; slot < chosen.threads; ++slot) {
    workers[slot].set_up(slot, workers, chosen.threads, chosen.seed,
                         chosen.operations != 0 ? chosen.operations : UINT64_MAX, shared);
  }
  const auto start = std::chrono::steady_clock::now();
  nursery(workers, chosen).run(shared);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

  std::uint64_t operations = 0;
  std::uint64_t handed_over = 0;
  std::uint64_t born = 0;
  for (std::size_t slot = 0; slot < chosen.threads; ++slot) {
    workers[slot].clear();
    operations += workers[slot].operations();
    handed_over += workers[slot].handed_over();
    born += workers[slot].lives();
  }
  CHECK_EQ(shared.live_bytes.load(), 0);
  std::printf("stress: %s, %zu threads at a time, %llu in all, seed %llu: %llu operations, %llu "
              "blocks handed over, %zu MiB live at most, %.1f s: ok\n",
              name, static_cast<std::size_t>(chosen.threads), static_cast<unsigned long long>(born),
              static_cast<unsigned long long>(chosen.seed),
              static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(handed_over), shared.peak_bytes.load() / mib,
              seconds.count());
  return 0;
}
