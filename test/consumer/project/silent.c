/* A program that names no symbol of mete and does not even call malloc itself: the linker sees no
 * reason to keep the allocator.
 * Usage: silent shared|static
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "proof.h"

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  expect_malloc_is_mete(argv[1]);
  if (strcmp(argv[1], "shared") == 0) {
    EXPECT(dlsym(RTLD_DEFAULT, "mete_version") != NULL);
  }
  return 0;
}
