// How much stack malloc and free need at most. Each kind of slow path runs on a thread with the
// smallest stack there may be (PTHREAD_STACK_MIN), painted beforehand; what is not in its colour
// afterwards was used. Signal handlers that allocate on a small sigaltstack need as much.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

#include <climits>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

namespace {

constexpr std::size_t bound = 5 * kib; // about 4 KiB with GCC on x86-64, as README says
constexpr unsigned char colour = 0xc5;
constexpr std::size_t many = 3000;

native mete;
void* blocks[many];

void fill(std::size_t size) {
  for (void*& block : blocks)
    block = malloc(size);
}
void empty() {
  for (void*& block : blocks)
    free(block);
}

// Everything that a block of one thread and size can go through on its own heap.
void own_slow_paths() {
  for (std::size_t size : {std::size_t{16}, std::size_t{500}, 5 * kib, 30 * kib}) {
    fill(size);
    empty();
  }
  for (std::size_t size : {40 * kib, 300 * kib, 3 * mib, 40 * mib}) {
    void* block = malloc(size);
    block = realloc(block, size * 2);
    block = realloc(block, size / 2);
    free(block);
    free(calloc(1, size));
    free(aligned_alloc(32 * kib, size));
  }
}

// Blocks of the main thread, of all sizes, so that the outbox is full of different slabs.
void foreign_frees() {
  empty();
  malloc_trim(0);
}

// Decay rounds and the purging of what grows, by the way: the options see to that.
void maintenance() {
  for (int round = 0; round < 40; ++round) {
    fill(700);
    for (std::size_t i = 0; i < many; i += 2)
      free(blocks[i]);
    for (std::size_t i = 0; i < many; i += 2)
      blocks[i] = malloc(1500);
    empty();
    sleep_ms(1);
  }
}

void heaps() {
  for (int round = 0; round < 20; ++round) {
    mete_heap* heap = mete.heap_create();
    for (std::size_t size = 16; size < 2 * mib; size += 16 + size / 2)
      mete.heap_malloc(heap, size);
    free(mete.heap_malloc(heap, 100));
    mete.heap_destroy(heap);
  }
  mete.collect();
}

struct painted_run {
  void (*work)();
  unsigned char* stack;
  std::size_t used;
};

// Paints from the end of the stack up to just below this frame, and looks how far down `work` got.
[[gnu::noinline]] void* run_painted(void* argument) {
  auto* run = static_cast<painted_run*>(argument);
  auto* frame = static_cast<unsigned char*>(__builtin_frame_address(0));
  auto* here = frame - 512;
  for (unsigned char* byte = run->stack; byte < here; ++byte)
    *static_cast<volatile unsigned char*>(byte) = colour;
  run->work();
  unsigned char* lowest = run->stack;
  while (lowest < here && *lowest == colour)
    ++lowest;
  run->used = static_cast<std::size_t>(frame - lowest);
  return nullptr;
}

void measure(const char* name, void (*work)(), bool& exceeded) {
  const auto size = static_cast<std::size_t>(PTHREAD_STACK_MIN);
  void* memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  CHECK_NE(memory, MAP_FAILED);
  painted_run run{work, static_cast<unsigned char*>(memory), 0};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  CHECK_EQ(pthread_attr_setstack(&attributes, memory, size), 0);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, &attributes, run_painted, &run), 0);
  CHECK_EQ(pthread_join(thread, nullptr), 0);
  munmap(memory, size);
  printf("%-18s %5zu bytes of stack\n", name, run.used);
  exceeded = exceeded || run.used > bound;
}

} // namespace

int main() {
  require_mete();
  mete = find_native();
  own_slow_paths(); // the dynamic loader has found every function by then: that needs stack, too
  heaps();
  sleep_ms(1);
  bool exceeded = false;
  measure("own slow paths", own_slow_paths, exceeded);
  for (std::size_t i = 0; i < many; ++i)
    blocks[i] = malloc(i * 11 % (12 * kib));
  measure("foreign frees", foreign_frees, exceeded);
  measure("maintenance", maintenance, exceeded);
  measure("explicit heaps", heaps, exceeded);
  CHECK(!exceeded);
}
