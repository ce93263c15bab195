// Plugins that come and go: each allocates when opened, in threads, and when closed; its blocks
// outlive it and the program's blocks die in it. The argument is the plugin's path.
//
// SPDX-License-Identifier: MIT
#include "library_copies.hpp"

#include <thread>

namespace {

using work_function = char*(char*);

void use_in_threads(work_function* work) {
  std::thread threads[4];
  for (std::thread& thread : threads) {
    thread = std::thread([work] {
      char* block = nullptr;
      for (int i = 0; i < 200; ++i) {
        block = work(block);
        CHECK(all_bytes_are(block, 200, 'b'));
      }
      free(block);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// In an initial thread, the plugin's thread_local object keeps the plugin loaded (glibc), so that
// only threads use it.
void* open_use_close(library_copies& copies, int i) {
  void* plugin = copies.open_copy(i);
  auto* work = find_function<work_function>("plugin_work", plugin);
  CHECK(work != nullptr);
  use_in_threads(work);
  char* survivor = nullptr;
  std::thread([&] { survivor = work(static_cast<char*>(malloc(5000))); }).join();
  CHECK_EQ(dlclose(plugin), 0);
  return survivor;
}

} // namespace

int main(int count, char** arguments) {
  require_mete();
  CHECK_EQ(count, 2);
  constexpr int copies_count = 30;
  library_copies copies(arguments[1], copies_count);
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < copies_count; ++i) {
      void* survivor = open_use_close(copies, i);
      CHECK(all_bytes_are(survivor, 200, 'b'));
      free(survivor);
    }
  }
  void* plugins[copies_count];
  for (int i = 0; i < copies_count; ++i) {
    plugins[i] = copies.open_copy(i);
  }
  for (int i = 0; i < copies_count; ++i) {
    use_in_threads(find_function<work_function>("plugin_work", plugins[i]));
  }
  for (int i = 0; i < copies_count; i += 2) { // the rest are closed by the process's end
    CHECK_EQ(dlclose(plugins[i]), 0);
  }
}
