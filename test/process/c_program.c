/* A C program: the functions that only C has (C23's sized frees, cfree), the C library's own
 * allocations handed to the program, and long chains of calls as C programs make them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <errno.h>
#include <locale.h>
#include <malloc.h>
#include <search.h>

typedef void free_function(void*);
typedef void free_sized_function(void*, size_t);
typedef void free_aligned_sized_function(void*, size_t, size_t);

static void* find(const char* name) {
  return dlsym(RTLD_DEFAULT, name);
}

static void sized_frees(void) {
  free_sized_function* free_sized = (free_sized_function*)find("free_sized");
  free_aligned_sized_function* free_aligned_sized =
      (free_aligned_sized_function*)find("free_aligned_sized");
  if (free_sized == NULL && check_any_allocator()) {
    return; /* glibc has them from 2.43 on */
  }
  CHECK(free_sized != NULL);
  CHECK(free_aligned_sized != NULL);
  for (size_t size = 0; size < 4 * 1024 * 1024; size += 1 + size / 8) {
    for (int i = 0; i < 20; ++i) {
      errno = 1234;
      free_sized(malloc(size), size);
      free_sized(calloc(1, size), size);
      free_sized(realloc(malloc(7), size + 1), size + 1);
      for (size_t alignment = 16; alignment <= 8192; alignment *= 8) {
        free_aligned_sized(aligned_alloc(alignment, size), alignment, size);
      }
      CHECK_EQ(errno, 1234);
    }
  }
  free_sized(NULL, 100);
  free_aligned_sized(NULL, 64, 100);
}

/* Gone from glibc's headers, but old binaries still call it. */
static void old_free(void) {
  free_function* cfree = (free_function*)find("cfree");
  if (cfree == NULL && check_any_allocator()) {
    return;
  }
  CHECK(cfree != NULL);
  for (int i = 0; i < 1000; ++i) {
    cfree(malloc((size_t)i * 100));
  }
  cfree(NULL);
}

/* Memory that the C library allocates and the program frees, or the other way round. */
static void blocks_shared_with_libc(void) {
  char* copy = strdup("portion");
  CHECK(copy != NULL && strcmp(copy, "portion") == 0);
  free(copy);
  copy = strndup("portion", 4);
  CHECK(copy != NULL && strcmp(copy, "port") == 0);
  free(copy);
  CHECK_EQ(asprintf(&copy, "%0*d", 5000, 7), 5000);
  CHECK_EQ(copy[4999], '7');
  free(copy);

  char* line = (char*)malloc(1); /* getline grows it by realloc */
  size_t capacity = 1;
  FILE* stream = tmpfile();
  CHECK(stream != NULL);
  for (int i = 0; i < 100000; ++i) {
    fputc('a' + i % 26, stream);
  }
  rewind(stream);
  CHECK_EQ(getline(&line, &capacity, stream), 100000);
  CHECK_GE(capacity, 100001);
  CHECK_EQ(line[25], 'z');
  free(line);
  fclose(stream);

  char* buffer = NULL;
  size_t length = 0;
  stream = open_memstream(&buffer, &length);
  for (int i = 0; i < 20000; ++i) {
    fprintf(stream, "%d,", i);
  }
  fclose(stream);
  CHECK_EQ(strlen(buffer), length);
  free(buffer);

  char* path = realpath("/proc/self/..", NULL);
  CHECK(path != NULL && strcmp(path, "/proc") == 0);
  free(path);
  char* folder = getcwd(NULL, 0);
  CHECK(folder != NULL);
  free(folder);
}

static int compare(const void* a, const void* b) {
  return (*(const int*)a > *(const int*)b) - (*(const int*)a < *(const int*)b);
}

/* The keys of the tree are not its own. */
static void keep_key(void* key) {
  (void)key;
}

static void trees_and_sorting(void) {
  void* root = NULL;
  enum { count = 5000 };
  int* keys = (int*)calloc(count, sizeof *keys);
  for (int i = 0; i < count; ++i) {
    keys[i] = i * 7919 % count;
    CHECK(tsearch(&keys[i], &root, compare) != NULL);
  }
  qsort(keys, count, sizeof *keys, compare); /* glibc sorts in a malloc'ed copy */
  for (int i = 0; i < count; ++i) {
    CHECK_EQ(keys[i], i);
  }
  tdestroy(root, keep_key);
  free(keys);
  for (int i = 0; i < 50; ++i) {
    CHECK(setlocale(LC_ALL, i % 2 ? "C" : "C.UTF-8") != NULL || i % 2 == 0);
  }
}

int main(void) {
  require_mete();
  sized_frees();
  old_free();
  blocks_shared_with_libc();
  trees_and_sorting();
  return 0;
}
