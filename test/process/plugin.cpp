// A library for dlopen_plugins to open and close: it allocates in constructors and destructors and
// in thread_local objects.
//
// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

namespace {

struct library_state {
  std::map<int, std::string> words;
  void* blocks[20];

  library_state() {
    for (std::size_t i = 0; i < 20; ++i) {
      words[static_cast<int>(i)] = std::string(i * 100, 'p');
      blocks[i] = std::malloc(std::size_t{1} << i);
    }
  }

  ~library_state() {
    for (void* block : blocks) {
      std::free(block);
    }
    std::free(std::malloc(12345));
  }
};

library_state state;

struct thread_state {
  std::string text;
  ~thread_state() {
    text += std::string(5000, 'e');
    std::free(std::malloc(777));
  }
};

thread_local thread_state own_text;

void* from_constructor;
__attribute__((constructor)) void construct() {
  from_constructor = std::malloc(300000);
}
__attribute__((destructor)) void destruct() {
  std::free(from_constructor);
}

} // namespace

// Returns a block for the caller to free, also after the plugin is closed.
extern "C" __attribute__((visibility("default"))) char* plugin_work(char* freed_by_plugin) {
  std::free(freed_by_plugin);
  own_text.text.append(1000, 't');
  char* block = static_cast<char*>(std::malloc(200));
  std::memset(block, 'b', 200);
  return block;
}
