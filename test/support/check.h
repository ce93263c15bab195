/* Checks for whole-process tests, usable from C and C++.
 *
 * A failing check prints file, line, expression and values, and ends the process with exit
 * status 1. It allocates nothing: the allocator is what is under test, so it may be broken, and a
 * report that needs it would hide the failure. `_exit`, not `exit`: destructors could hang.
 *
 * Environment:
 *   METE_TEST_ANY_ALLOCATOR=1  do not insist on mete, so that what a test expects can be compared
 *                              with what glibc or another allocator does.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef METE_TEST_SUPPORT_CHECK_H
#define METE_TEST_SUPPORT_CHECK_H

#ifndef _GNU_SOURCE
#  error "define _GNU_SOURCE: these tests use dladdr and the like (the build does it for C)"
#endif

#include <dlfcn.h>
#include <mete/mete.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seconds after which a test that hangs is ended by SIGALRM. */
enum { check_time_limit_s = 170 };

/* ctest reads this exit status as "skipped"; the reason has been printed. */
enum { check_skipped = 77 };

static inline void check_print(const char* text, size_t length) {
  while (length > 0) {
    ssize_t written = write(STDERR_FILENO, text, length);
    if (written <= 0) {
      return;
    }
    text += written;
    length -= (size_t)written;
  }
}

__attribute__((noreturn)) static inline void
check_failed(const char* file, int line, const char* expression, const char* values) {
  char text[1024];
  int length =
      snprintf(text, sizeof text, "%s:%d: check failed: %s%s\n", file, line, expression, values);
  check_print(text, length < (int)sizeof text ? (size_t)length : sizeof text - 1);
  _exit(1);
}

__attribute__((noreturn)) static inline void check_failed_values(const char* file, int line,
                                                                 const char* expression,
                                                                 long long left, long long right) {
  char values[160];
  snprintf(values, sizeof values, " [left %lld = 0x%llx, right %lld = 0x%llx]", left,
           (unsigned long long)left, right, (unsigned long long)right);
  check_failed(file, line, expression, values);
}

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      check_failed(__FILE__, __LINE__, #condition, "");                                            \
    }                                                                                              \
  } while (0)

#define CHECK_RELATION(left, relation, right)                                                      \
  do {                                                                                             \
    long long check_left = (long long)(left);                                                      \
    long long check_right = (long long)(right);                                                    \
    if (!(check_left relation check_right)) {                                                      \
      check_failed_values(__FILE__, __LINE__, #left " " #relation " " #right, check_left,          \
                          check_right);                                                            \
    }                                                                                              \
  } while (0)

#define CHECK_EQ(left, right) CHECK_RELATION(left, ==, right)
#define CHECK_NE(left, right) CHECK_RELATION(left, !=, right)
#define CHECK_LT(left, right) CHECK_RELATION(left, <, right)
#define CHECK_LE(left, right) CHECK_RELATION(left, <=, right)
#define CHECK_GT(left, right) CHECK_RELATION(left, >, right)
#define CHECK_GE(left, right) CHECK_RELATION(left, >=, right)

/* Ends the process as skipped, with the reason on standard output. */
__attribute__((noreturn)) static inline void check_skip(const char* reason) {
  printf("skipped: %s\n", reason);
  fflush(stdout);
  _exit(check_skipped);
}

static inline bool check_any_allocator(void) {
  const char* value = getenv("METE_TEST_ANY_ALLOCATOR");
  return value != NULL && strcmp(value, "1") == 0;
}

/* The start address of the executable or library that defines `symbol`; NULL when there is none.
 * The first definition in lookup order, which is the one that programs and libraries get. */
static inline void* check_object_of(const char* symbol) {
  void* address = dlsym(RTLD_DEFAULT, symbol);
  Dl_info info;
  return address != NULL && dladdr(address, &info) != 0 ? info.dli_fbase : NULL;
}

/* Proves that mete is this process's allocator: mete_version is there, it is the version of the
 * header, and malloc and free come from the same object. Ends the process if not, unless any
 * allocator will do. Returns whether mete is active. Also arms the time limit and sets up output.
 */
static inline bool require_mete(void) {
  /* Line by line, so that what was printed is seen also when a check ends the process, and is not
   * printed twice by children; in a buffer that is not malloc'ed. */
  static char output[BUFSIZ];
  setvbuf(stdout, output, _IOLBF, sizeof output);
  alarm(check_time_limit_s);
#ifdef METE_TEST_STATIC
  const char* version = mete_version();
#else
  const char* (*find_version)(void) = NULL;
  void* symbol = dlsym(RTLD_DEFAULT, "mete_version");
  memcpy(&find_version, &symbol, sizeof symbol);
  const char* version = find_version != NULL ? find_version() : NULL;
#endif
  if (version == NULL) {
    if (check_any_allocator()) {
      return false;
    }
    check_failed(__FILE__, __LINE__, "mete is this process's allocator",
                 " (run with LD_PRELOAD=libmete.so, or set METE_TEST_ANY_ALLOCATOR=1)");
  }
  CHECK(strcmp(version, METE_VERSION) == 0);
  void* home = check_object_of("mete_version");
  CHECK_NE(home, NULL);
  CHECK_EQ(check_object_of("malloc"), home);
  CHECK_EQ(check_object_of("free"), home);
  return true;
}

#endif
