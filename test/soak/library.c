/* A library that the soak is linked to. Its constructor registers handlers of fork that allocate,
 * wait for a thread which allocates and frees, and start another one, as numeric libraries with a
 * pool of threads do. "library" in the environment's SOAK_WITHOUT leaves it idle.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

/* Held from before a fork until after it: others may fork at the same time. */
static pthread_mutex_t forking = PTHREAD_MUTEX_INITIALIZER;
static pthread_t worker;
static int has_worker; /* there is none if a limit on memory did not let it start */
static sem_t go;

static void* work(void* unused) {
  void* block = malloc(100);
  while (sem_wait(&go) != 0 && errno == EINTR) {
  }
  free(block);
  return unused;
}

static void allocate_some(void) {
  void* blocks[64];
  for (int i = 0; i < 64; i++) {
    blocks[i] = malloc(40);
  }
  for (int i = 0; i < 64; i++) {
    free(blocks[i]);
  }
}

static void start(void) {
  sem_init(&go, 0, 0);
  has_worker = pthread_create(&worker, 0, work, 0) == 0;
}

static void before(void) {
  pthread_mutex_lock(&forking);
  allocate_some();
  if (has_worker) {
    sem_post(&go);
    pthread_join(worker, 0);
  }
}

static void after(void) {
  allocate_some();
  start();
  pthread_mutex_unlock(&forking);
}

__attribute__((constructor)) static void initialise(void) {
  const char* without = getenv("SOAK_WITHOUT");
  if (without == 0 || strstr(without, "library") == 0) {
    pthread_atfork(before, after, after);
    start();
  }
}

/* Named by the soak, so that the linker keeps the library. */
int soak_library_is_there = 1;
