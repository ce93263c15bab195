// A library to open, which replaces the basic forms of operator new and delete. Whose forms are
// called is decided by the loader: those of the program and of what it was started with come first.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <new>
#include <string>
#include <vector>

namespace {

int news;
int deletes;

struct thing {
  int x[10];
  ~thing() { x[0] = 0; }
};

char pool[1 << 20];
std::size_t used;

} // namespace

// Never inlined: a compiler that does so (Clang) keeps some calls from the loader, and then blocks
// of this library meet operators of others, with any allocator, in every program that has a C++
// library.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++news;
  void* const block = pool + used;
  used += (size + 15) & ~std::size_t{15};
  CHECK_LE(used, sizeof pool);
  return block;
}

[[gnu::noinline]] void operator delete(void* block) noexcept {
  ++deletes;
  CHECK(block == nullptr || (block >= pool && block < pool + sizeof pool));
}

void operator delete(void* block, std::size_t) noexcept;

// All in this library, or all elsewhere: anything else mixes blocks.
extern "C" __attribute__((visibility("default"))) int plugin_news() {
  news = deletes = 0;
  used = 0;
  delete hide(new thing);
  delete[] hide(new thing[10]);
  delete[] hide(new int[10]);
  delete hide(new (std::nothrow) thing);
  ::operator delete (hide(::operator new(100)), std::size_t{100});
  { const std::vector<std::string> words(10, std::string(100, 'w')); }
  CHECK_EQ(news, deletes);
  return news;
}

extern "C" __attribute__((visibility("default"))) void plugin_test() {
  plugin_news();
}
