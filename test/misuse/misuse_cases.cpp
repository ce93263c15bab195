// Small cases of misuse of malloc, by class, and how many of them the allocator stops. The program
// knows nothing of mete: it runs on whatever allocator it gets, and docs/misuse.md compares them.
//
//   misuse_cases [-v] [--control]      one line for each class; -v: and one for each case;
//                                      --control: the same cases without their wrong steps
//
// A case is stopped if its process dies of a signal, ends itself or reports something on standard
// error, in the wrong step or by the end of the ordinary calls that follow it (go_on() in
// runner.hpp). Of the cases that read, one is also stopped if the old contents are not seen.
//
// Exits with 1 if a case ended before its wrong step.
//
// SPDX-License-Identifier: MIT
#include "runner.hpp"

#include <algorithm>
#include <malloc.h>
#include <new>
#include <utility>

namespace {

constexpr std::size_t sizes[] = {16, 64, 100, 500, 1000, 5000, 30000, 100 * kib, mib};

bool verbose = false;
bool all_made = true;

struct misuse_class {
  const char* name;
  int cases = 0;
  int at_once = 0;
  int later = 0;
  int hanging = 0;

  template <class Body>
  void add(std::size_t size, const char* what, Body body) {
    static const char* const words[] = {"unnoticed", "at once", "later", "hangs", "NOT MADE"};
    const outcome ended = run_case(body);
    ++cases;
    at_once += ended == outcome::at_once;
    later += ended == outcome::later;
    hanging += ended == outcome::hangs;
    all_made = all_made && ended != outcome::no_case;
    if (verbose)
      printf("  %s, %zu bytes: %s: %s\n", name, size, what, words[static_cast<int>(ended)]);
  }

  ~misuse_class() {
    printf("%s: %d of %d stopped, %d at once, %d hang\n", name, at_once + later, cases, at_once,
           hanging);
  }
};

void* new_block(std::size_t size) {
  return ::operator new(size);
}

void double_free(misuse_class& c, std::size_t size) {
  // `first` gives the block up in a proper way.
  const auto freed_again = [&](const char* what, auto first) {
    c.add(size, what, [=] {
      char* const block = among_neighbours(size);
      first(block);
      wrong([=] { free(hide(block)); });
      go_on(size);
    });
  };
  const auto plainly = [](void* block) { free(hide(block)); };
  freed_again("at once", plainly);
  freed_again("after the block before it", [=](void* block) {
    plainly(block);
    plainly(std::exchange(neighbours[7], nullptr));
  });
  freed_again("after all its neighbours", [=](void* block) {
    plainly(block);
    for (std::size_t i = 1; i + 1 < neighbours.size(); ++i)
      plainly(std::exchange(neighbours[i], nullptr));
  });
  freed_again("after realloc() had moved it",
              [=](void* block) { plainly(hide(realloc(hide(block), 3 * size + 200))); });
  c.add(size, "a thread that ends, then here", [=] {
    other_thread first(false);
    char* const block = among_neighbours(size);
    first.does([=] { free(hide(block)); });
    wrong([=] { free(hide(block)); });
    go_on(size);
  });
  c.add(size, "here, then another thread", [=] {
    other_thread second(true);
    char* const block = among_neighbours(size);
    free(hide(block));
    wrong([&] { second.does([=] { free(hide(block)); }); });
    go_on(size);
  });
  c.add(size, "two other threads", [=] {
    other_thread first(true), second(true);
    char* const block = among_neighbours(size);
    first.does([=] { free(hide(block)); });
    wrong([&] { second.does([=] { free(hide(block)); }); });
    go_on(size);
  });
  c.add(size, "operator delete", [=] {
    char* const block = among_neighbours(size, new_block);
    ::operator delete(hide(block));
    wrong([=] { ::operator delete(hide(block)); });
    go_on(size);
  });
}

void inside(misuse_class& c, std::size_t size) {
  const auto freed = [&](const char* what, std::size_t offset) {
    if (offset < size)
      c.add(size, what, [=] {
        char* const block = among_neighbours(size);
        wrong([=] { free(hide(block + offset)); });
        go_on(size);
      });
  };
  freed("free, 1 byte in", 1);
  freed("free, 8 bytes in", 8);
  if (size <= 16)
    return;
  freed("free, 16 bytes in", 16);
  freed("free, half in", size / 2 / 16 * 16);
  freed("free, the last 16 bytes", (size - 16) / 16 * 16);
  c.add(size, "free by another thread, 16 bytes in", [=] {
    other_thread second(true);
    char* const block = among_neighbours(size);
    wrong([&] { second.does([=] { free(hide(block + 16)); }); });
    go_on(size);
  });
  c.add(size, "realloc, half in", [=] {
    char* const block = among_neighbours(size);
    wrong([=] { (void)hide(realloc(hide(block + size / 2 / 16 * 16), size)); });
    go_on(size);
  });
}

alignas(64) char static_data[256] = "not a block";

void never_a_block(misuse_class& c) {
  alignas(16) char on_stack[256] = "not a block";
  char* const pages = static_cast<char*>(
      mmap(nullptr, mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK_NE(pages, MAP_FAILED);
  memset(pages, 1, mib);
  const auto at = [](std::uintptr_t address) { return reinterpret_cast<char*>(address); };
  const struct {
    const char* what;
    char* address;
  } places[] = {
      {"on the stack", hide(on_stack + 64)},
      {"static data", static_data + 64},
      {"code", at(reinterpret_cast<std::uintptr_t>(&new_block))},
      {"a string of the environment", environ[0]},
      {"a mapping", pages},
      {"inside a mapping", pages + 64 * kib + 16},
      {"an address where nothing is", at(0xdeadbeef0000)},
      {"a small number", at(16)},
  };
  for (const auto& place : places)
    for (const bool by_free : {true, false})
      c.add(0, place.what, [=] {
        wrong([=] {
          if (by_free)
            free(hide(place.address));
          else
            (void)hide(realloc(hide(place.address), 100));
        });
        go_on(100);
      });
}

// Behind the block that lies highest, by the least distance between two blocks.
void never_handed_out(misuse_class& c, std::size_t size) {
  for (const std::size_t blocks : size_list{1, 10})
    c.add(size, blocks == 1 ? "the next block" : "the tenth block", [=] {
      (void)among_neighbours(size);
      auto sorted = neighbours;
      std::sort(sorted.begin(), sorted.end());
      std::size_t distance = SIZE_MAX;
      for (std::size_t i = 1; i < sorted.size(); ++i)
        distance = std::min(distance, static_cast<std::size_t>(sorted[i] - sorted[i - 1]));
      char* const address = sorted.back() + blocks * distance;
      wrong([=] { free(hide(address)); });
      go_on(size);
    });
}

void overflow(misuse_class& c, std::size_t size) {
  for (const bool past_usable : {false, true})
    for (const std::size_t length : size_list{1, 8, 16, 64})
      for (const bool live : {true, false}) {
        char what[100];
        snprintf(what, sizeof what, "%zu bytes past the %s, towards %s neighbour", length,
                 past_usable ? "usable size" : "request", live ? "a live" : "a freed");
        c.add(size, what, [=] {
          char* const block = among_neighbours(size);
          const std::size_t end = past_usable ? malloc_usable_size(block) : size;
          if (!live)
            free(hide(std::exchange(neighbours[9], nullptr)));
          wrong([=] { memset(hide(block + end), 'o', length); });
          free(block);
          go_on(size);
        });
      }
}

void underflow(misuse_class& c, std::size_t size) {
  for (const std::size_t length : size_list{8, 16})
    c.add(size, length == 8 ? "8 bytes" : "16 bytes", [=] {
      char* const block = among_neighbours(size);
      wrong([=] { memset(hide(block - length), 'u', length); });
      free(block);
      go_on(size);
    });
}

void write_after_free(misuse_class& c, std::size_t size) {
  for (const bool all : {false, true})
    c.add(size, all ? "every byte" : "the first 16 bytes", [=] {
      char* const block = among_neighbours(size);
      free(block);
      wrong([=] { memset(hide(block), 'w', all ? size : 16); });
      go_on(size);
    });
}

// --- Reading ------------------------------------------------------------------------------------

// Never in the program's own data, so that no other memory can hold it.
std::uint64_t secret_word() {
  return hide(std::uint64_t{0x0123456789abcdef}) * 0x9e3779b97f4a7c15u;
}

void write_secret(void* block, std::size_t size) {
  for (std::size_t i = 0; !control && i < size / 8; ++i)
    static_cast<volatile std::uint64_t*>(block)[i] = secret_word();
}

bool has_secret(const void* block, std::size_t size) {
  const volatile std::uint64_t* const words = static_cast<const volatile std::uint64_t*>(block);
  for (std::size_t i = 0; i < size / 8; ++i)
    if (words[i] == secret_word())
      return true;
  return false;
}

bool new_blocks_have_secret(std::size_t size) {
  for (int i = 0; i < 20; ++i)
    if (has_secret(hide(malloc(size)), size))
      return true;
  return false;
}

// `read` returns whether it saw the old contents.
void old_contents(misuse_class& c, std::size_t size) {
  const auto seen = [&](const char* what, bool elsewhere, auto read) {
    c.add(size, what, [=] {
      other_thread first(false);
      char* const block = among_neighbours(size);
      write_secret(block, size);
      if (elsewhere)
        first.does([=] { free(hide(block)); });
      else
        free(hide(block));
      wrong([=] { in_child->defeated = !read(hide(block)); });
    });
  };
  seen("a new block", false, [=](void*) { return new_blocks_have_secret(size); });
  seen("a new block, freed by another thread", true,
       [=](void*) { return new_blocks_have_secret(size); });
  seen("read after free", false, [=](void* block) { return has_secret(block, size); });
  seen("read after free of all neighbours", false, [=](void* block) {
    for (std::size_t i = 1; i + 1 < neighbours.size(); ++i)
      free(hide(neighbours[i]));
    return has_secret(block, size);
  });
}

// --- Calls with a freed block, or with the wrong facts ------------------------------------------

void use_of_freed(misuse_class& c, std::size_t size) {
  const auto used = [&](const char* what, bool elsewhere, auto use) {
    c.add(size, what, [=] {
      other_thread first(true);
      char* const block = among_neighbours(size);
      if (elsewhere)
        first.does([=] { free(hide(block)); });
      else
        free(hide(block));
      wrong([=] { use(hide(block)); });
      go_on(size);
    });
  };
  const auto resized = [=](void* block) { (void)hide(realloc(block, 2 * size + 100)); };
  const auto asked = [](void* block) { (void)hide(malloc_usable_size(block)); };
  used("realloc", false, resized);
  used("realloc of a block that another thread freed", true, resized);
  used("malloc_usable_size", false, asked);
  used("malloc_usable_size of a block that another thread freed", true, asked);
}

void delete_that_does_not_match(misuse_class& c, std::size_t size) {
  const auto sized = [&](const char* what, std::size_t given) {
    c.add(size, what, [=] {
      char* const block = among_neighbours(size, new_block);
      wrong([=] { ::operator delete(hide(block), hide(given)); });
      go_on(size);
    });
  };
  sized("half the size", size / 2);
  sized("twice the size", size * 2);
  sized("64 bytes more", size + 64);
  constexpr std::align_val_t page{4096}, line{64};
  const auto new_in_line = [=](std::size_t bytes) { return ::operator new(bytes, line); };
  c.add(size, "an alignment that it does not have", [=] {
    char* const block = among_neighbours(size, new_block);
    wrong([=] { ::operator delete(hide(block), line); });
    go_on(size);
  });
  c.add(size, "no alignment, but it has one", [=] {
    char* const block = among_neighbours(size, new_in_line);
    wrong([=] { ::operator delete(hide(block)); });
    go_on(size);
  });
  c.add(size, "another alignment", [=] {
    char* const block = among_neighbours(size, new_in_line);
    wrong([=] { ::operator delete(hide(block), page); });
    go_on(size);
  });
}

void run_class(const char* name, void (*cases)(misuse_class&, std::size_t),
               std::size_t largest = SIZE_MAX) {
  misuse_class c{name};
  for (const std::size_t size : sizes)
    if (size <= largest)
      cases(c, size);
}

} // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    verbose = verbose || strcmp(arguments[i], "-v") == 0;
    control = control || strcmp(arguments[i], "--control") == 0;
  }
  static char output[BUFSIZ];
  setvbuf(stdout, output, _IOLBF, sizeof output); // line by line: nothing is left for children
  run_class("double free", double_free);
  run_class("free or realloc of a pointer into a block", inside);
  {
    misuse_class c{"free or realloc of what never was a block"};
    never_a_block(c);
  }
  run_class("free behind the last block", never_handed_out, 30000);
  run_class("overflow", overflow);
  run_class("underflow", underflow);
  run_class("write after free", write_after_free);
  run_class("old contents in a new block, read after free", old_contents);
  run_class("realloc or malloc_usable_size of a freed block", use_of_freed);
  run_class("delete with the wrong size or alignment", delete_that_does_not_match);
  return all_made ? 0 : 1;
}
