// SPDX-License-Identifier: MIT
#include "front/background.hpp"

#include "base/options.hpp"
#include "base/units.hpp"
#include "front/allocate.hpp"
#include "front/deferred_work.hpp"
#include "front/initialise.hpp"
#include "os/thread.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <climits>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mete::front {
namespace {

bool background_thread_exists() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name == "mete-purger")
      return true;
  }
  return false;
}

// Frees in between what was put off, so that other code frees beneath this one. Returns how often.
[[gnu::noinline, gnu::section(".text.as_the_loader")]] std::size_t
free_as_the_loader_does(const std::vector<void*>& blocks, const std::vector<void*>& put_off) {
  std::size_t index = 0;
  for (void* block : blocks) {
    if (!deferred_work_waits() && index < put_off.size())
      defer(deallocate_slow, put_off[index++]);
    deallocate_slow(block);
  }
  return index;
}

// The C library holds the lock of its stacks then, which starting a thread takes as well. It was
// forgotten who frees when something that was put off was freed first.
TEST(background_test, it_is_not_started_while_the_loader_frees) {
  initialise();
  deallocate(allocate(1)); // so this is a thread that allocates, and the next is a second one
  const long long threshold = options.background_threshold.exchange(LLONG_MAX);
  std::promise<void> end;
  std::thread other([done = end.get_future()] {
    deallocate(allocate(1));
    done.wait();
  });
  for (int count = 0; count < 60'000 && !background_allowed(); ++count)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));

  std::vector<void*> blocks(50'000), put_off(1000);
  for (void*& block : blocks)
    block = allocate(1000);
  for (void*& block : put_off)
    block = allocate(100 * KiB);
  ASSERT_FALSE(background_thread_exists());
  options.background_threshold.store(1);
  const os::code_range found = std::exchange(
      os::loader_code, {reinterpret_cast<std::uintptr_t>(&free_as_the_loader_does), 1024});
  EXPECT_GT(free_as_the_loader_does(blocks, put_off), 1u) << "nothing was freed in between";
  os::loader_code = found;
  EXPECT_FALSE(background_thread_exists());
  for (int count = 0; count < 1000 && !background_thread_exists(); ++count)
    deallocate(allocate(100 * KiB));
  EXPECT_TRUE(background_thread_exists()) << "the next free from elsewhere starts it";

  options.background_threshold.store(threshold);
  end.set_value();
  other.join();
}

} // namespace
} // namespace mete::front
