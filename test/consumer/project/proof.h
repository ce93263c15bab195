/* Proof, from inside the process, that it runs on mete: asked of the dynamic linker and of mete.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PROOF_H
#define PROOF_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FULLY_STATIC
#  include <dlfcn.h>
#endif

#define EXPECT(condition)                                                                          \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);               \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

/* Every function of the malloc family must be where malloc is, and that is libmete.so (kind
 * "shared") or this program itself ("static"). A program without shared libraries has no dynamic
 * linker to ask: there its symbol table is searched for a second malloc, after the build. */
static inline void expect_malloc_is_mete(const char* kind) {
#ifdef FULLY_STATIC
  EXPECT(strcmp(kind, "full_static") == 0);
#else
  static const char* const family[] = {
      "malloc",        "free",     "calloc",         "realloc",
      "aligned_alloc", "memalign", "posix_memalign", "malloc_usable_size"};
  static const char in_this_program = 0;
  size_t i;
  Dl_info program;
  EXPECT(dladdr(&in_this_program, &program) != 0);
  for (i = 0; i < sizeof family / sizeof *family; ++i) {
    Dl_info library;
    void* function = dlsym(RTLD_DEFAULT, family[i]);
    EXPECT(function != NULL && dladdr(function, &library) != 0);
    if (strcmp(kind, "shared") == 0) {
      const char* name = strrchr(library.dli_fname, '/');
      if (name == NULL || strncmp(name, "/libmete.so", 11) != 0) {
        fprintf(stderr, "%s comes from %s, not from libmete.so\n", family[i], library.dli_fname);
        exit(1);
      }
    } else {
      EXPECT(strcmp(kind, "static") == 0);
      if (library.dli_fbase != program.dli_fbase) {
        fprintf(stderr, "%s comes from %s, not from the program\n", family[i], library.dli_fname);
        exit(1);
      }
    }
  }
#endif
}

#endif
