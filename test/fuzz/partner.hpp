// A second thread that runs one piece of work at a time while the first waits.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace fuzz {

class partner {
public:
  partner() : thread_([this] { serve(); }) {}
  ~partner() {
    hand_over(nullptr, nullptr);
    thread_.join();
  }
  partner(const partner&) = delete;

  template <class Work>
  void run(Work& work) {
    hand_over([](void* context) { (*static_cast<Work*>(context))(); }, &work);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !busy_; });
  }

private:
  using function = void (*)(void*);

  void hand_over(function work, void* context) {
    const std::lock_guard lock(mutex_);
    work_ = work;
    context_ = context;
    busy_ = true;
    changed_.notify_all();
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return busy_; });
      if (work_ == nullptr) {
        return;
      }
      work_(context_);
      busy_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;
  function work_ = nullptr;
  void* context_ = nullptr;
  std::thread thread_; // last: it uses the others
};

} // namespace fuzz
