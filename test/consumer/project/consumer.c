/* A C program that uses mete and its native interface.
 * Usage: consumer_c shared|static|full_static
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "proof.h"

#include <malloc.h>
#include <mete/mete.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_block_of_mete(void* block, size_t size) {
  EXPECT(block != NULL);
  EXPECT(mete_malloc_usable_size(block) >= size);
  EXPECT(mete_malloc_usable_size(block) == malloc_usable_size(block));
  memset(block, 0x5a, size);
  free(block);
}

int main(int argc, char** argv) {
  size_t size;
  pid_t child;
  int status;
  EXPECT(argc == 2);
  expect_malloc_is_mete(argv[1]);
  EXPECT(strcmp(mete_version(), METE_VERSION) == 0);

  for (size = 1; size < (16u << 20); size = size * 3 / 2 + 1) {
    expect_block_of_mete(malloc(size), size);
    expect_block_of_mete(calloc(3, size), 3 * size);
    expect_block_of_mete(realloc(malloc(size), 2 * size), 2 * size);
    expect_block_of_mete(aligned_alloc(64, (size + 63) / 64 * 64), size);
  }
  expect_block_of_mete(strdup("allocated inside libc"), 22);

  /* libc's own fork hooks must not bring a second malloc into a static program. */
  child = fork();
  if (child == 0) {
    expect_block_of_mete(malloc(1000), 1000);
    _exit(0);
  }
  EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
