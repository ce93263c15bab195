// Handlers of fork for the plugin of the process tests (../process/plugin.cpp): as some libraries
// have, they allocate. The C library forgets them when the plugin is closed.
//
// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <pthread.h>

namespace {

void allocate_some() {
  void* blocks[20];
  for (std::size_t i = 0; i < 20; ++i) {
    blocks[i] = std::malloc(50 * i);
  }
  for (void* each : blocks) {
    std::free(each);
  }
}

} // namespace

extern "C" __attribute__((visibility("default"))) void plugin_handle_fork() {
  pthread_atfork(allocate_some, allocate_some, allocate_some);
}
