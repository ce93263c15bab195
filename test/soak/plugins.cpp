// The actor that loads and unloads plugins, each from a file of its own, so that it really is
// loaded anew: used in threads that have ended before it is closed, with and without handlers of
// fork.
//
// SPDX-License-Identifier: MIT
#include "library_copies.hpp"
#include "soak.hpp"

namespace soak {

namespace {

using work_function = char*(char*);

void* use(void* argument) {
  auto* work = reinterpret_cast<work_function*>(argument);
  char* block = nullptr;
  for (int times = 0; times < 50; ++times) {
    block = work(block);
    CHECK(all_bytes_are(block, 200, 'b'));
  }
  return block;
}

class plugins_actor final : public actor {
public:
  plugins_actor(std::uint64_t seed, const char* plugin)
      : actor("plugins", seed), copies_(plugin, count) {}

  void step() override {
    // glibc aborts if a plugin's thread-local variables find no memory.
    const reading no_limit(limits);
    const int index = static_cast<int>(random.below(count));
    void*& plugin = open_[index];
    if (plugin == nullptr) {
      plugin = copies_.open_copy(index);
      has_handlers_[index] = random.below(2) == 0;
      if (has_handlers_[index]) {
        auto* handle_fork = find_function<void()>("plugin_handle_fork", plugin);
        CHECK(handle_fork != nullptr);
        handle_fork();
      }
      ++progress->plugins;
    }
    use_in_threads(find_function<work_function>("plugin_work", plugin));
    if (random.below(3) != 0) {
      close(index);
    }
  }
  void rest() override {
    for (int index = 0; index < count; ++index) {
      close(index);
    }
  }

private:
  static constexpr int count = 8;

  void use_in_threads(work_function* work) {
    CHECK(work != nullptr);
    pthread_t threads[3];
    for (pthread_t& each : threads) {
      CHECK(start_thread(each, use, reinterpret_cast<void*>(work)));
    }
    for (pthread_t& each : threads) {
      void* survivor = nullptr;
      CHECK_EQ(pthread_join(each, &survivor), 0);
      free(survivor);
    }
  }

  void close(int index) {
    void*& plugin = open_[index];
    if (plugin == nullptr) {
      return;
    }
    if (has_handlers_[index]) {
      pthread_rwlock_wrlock(&fork_handlers);
    }
    CHECK_EQ(dlclose(plugin), 0);
    if (has_handlers_[index]) {
      pthread_rwlock_unlock(&fork_handlers);
    }
    plugin = nullptr;
  }

  library_copies copies_;
  void* open_[count] = {};
  bool has_handlers_[count] = {};
};

} // namespace

actor* make_plugins_actor(std::uint64_t seed, const char* plugin, const char*) {
  return new plugins_actor(seed, plugin);
}

} // namespace soak
