// A C++11 program that uses mete: containers, threads, exceptions, operator new in all its forms.
// Usage: consumer_cpp shared|static|full_static
// SPDX-License-Identifier: MIT
#include "proof.h"

#include <malloc.h>
#include <map>
#include <mete/mete.h>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

static int new_handler_calls = 0;

static void give_up() {
  ++new_handler_calls;
  std::set_new_handler(nullptr);
}

static void expect_block_of_mete(void* block, std::size_t size) {
  EXPECT(block != nullptr);
  EXPECT(mete_malloc_usable_size(block) >= size);
  EXPECT(mete_malloc_usable_size(block) == malloc_usable_size(block));
}

static void use_containers() {
  std::map<std::string, std::vector<int>> numbers;
  for (int i = 0; i < 10000; ++i) {
    std::ostringstream name;
    name << "a name that is too long for the small string optimisation " << i % 500;
    numbers[name.str()].push_back(i);
  }
  EXPECT(numbers.size() == 500);
  for (const auto& entry : numbers) {
    EXPECT(entry.second.size() == 20);
  }
}

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  expect_malloc_is_mete(argv[1]);
  EXPECT(std::string(mete_version()) == METE_VERSION);

  // By way of pointers the compiler cannot leave the calls out.
  void* (*volatile allocate)(std::size_t) = &::operator new;
  void* (*volatile allocate_array)(std::size_t) = &::operator new[];
  void* (*volatile allocate_nothrow)(std::size_t, const std::nothrow_t&) = &::operator new;
  void* block = allocate(1000);
  expect_block_of_mete(block, 1000);
  ::operator delete(block);
  block = allocate_array(100000);
  expect_block_of_mete(block, 100000);
  ::operator delete[](block);
  EXPECT(allocate_nothrow(SIZE_MAX / 4, std::nothrow) == nullptr);

  // The allocator reports failure as C++ demands, although it needs no C++ library itself.
  std::set_new_handler(give_up);
  bool thrown = false;
  try {
    ::operator delete(allocate(SIZE_MAX / 4));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  EXPECT(thrown && new_handler_calls == 1);

  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(use_containers);
  }
  for (auto& thread : threads) {
    thread.join();
  }
  return 0;
}
