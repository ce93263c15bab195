// SPDX-License-Identifier: MIT
// Growth by realloc as programs do it: many vectors side by side that grow by half, strings that
// are appended to a few bytes at a time, and one buffer that grows by a mebibyte. It shows growth
// in place and mremap; an allocator with neither copies. Our own scenario; the growth factors are
// those of common vector and string implementations.

#include "support.hpp"

namespace {

struct vector {
  std::uint32_t* items;
  std::size_t size;
  std::size_t capacity;
};

void push(vector& to, std::uint32_t item) {
  if (to.size == to.capacity) {
    to.capacity = to.capacity == 0 ? 4 : to.capacity + (to.capacity + 1) / 2;
    void* grown = std::realloc(to.items, to.capacity * sizeof(std::uint32_t));
    bench::check(grown != nullptr, "realloc gave no memory");
    to.items = static_cast<std::uint32_t*>(grown);
  }
  to.items[to.size++] = item;
}

void grow_vectors(std::size_t count, std::size_t items, bench::random_source& random) {
  bench::table<vector> vectors(count);
  for (std::size_t i = 0; i < count * items; ++i) {
    vector& chosen = vectors[random.below(count)];
    push(chosen, static_cast<std::uint32_t>(chosen.size));
  }
  for (vector& each : vectors) {
    for (std::size_t i = 0; i < each.size; ++i) {
      bench::check(each.items[i] == i, "realloc lost contents of a vector");
    }
    std::free(each.items);
  }
}

void append_strings(std::size_t count, std::size_t appends, bench::random_source& random) {
  bench::table<char*> texts(count);
  bench::table<std::size_t> lengths(count);
  for (std::size_t i = 0; i < count * appends; ++i) {
    const std::uint64_t chosen = random.below(count);
    const std::uint64_t piece = random.between(1, 32);
    char*& text = texts[chosen];
    std::size_t& length = lengths[chosen];
    text = static_cast<char*>(std::realloc(text, length + piece + 1));
    bench::check(text != nullptr, "realloc gave no memory");
    std::memset(text + length, static_cast<int>('a' + chosen % 26), piece);
    length += piece;
    text[length] = '\0';
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (texts[i] != nullptr) {
      const char expected[] = {static_cast<char>('a' + i % 26), '\0'};
      bench::check(std::strspn(texts[i], expected) == lengths[i], "realloc lost a string");
      std::free(texts[i]);
    }
  }
}

void grow_buffer(std::size_t mebibytes) {
  unsigned char* buffer = nullptr;
  for (std::size_t i = 0; i < mebibytes; ++i) {
    buffer = static_cast<unsigned char*>(std::realloc(buffer, (i + 1) << 20));
    bench::check(buffer != nullptr, "realloc gave no memory");
    for (std::size_t at = i << 20; at < (i + 1) << 20; at += bench::page_bytes) {
      buffer[at] = static_cast<unsigned char>(i);
    }
  }
  for (std::size_t i = 0; i < mebibytes; ++i) {
    bench::check(buffer[i << 20] == static_cast<unsigned char>(i), "realloc lost a page");
  }
  std::free(buffer);
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t rounds = arguments.number("--rounds", 4, 1);
  const std::size_t buffer = arguments.number("--buffer-mebibytes", 128, 64);
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  bench::random_source random(seed);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    grow_vectors(200, 20'000, random);
    grow_vectors(20'000, 60, random);
    append_strings(5'000, 200, random);
    grow_buffer(buffer);
  }
  return 0;
}
