/* A program without shared libraries, and one that links the static library into a dynamic one:
 * fork handlers that a constructor registers allocate, and join a thread that does. Threads read
 * lines and flush streams meanwhile.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>

static pthread_t worker;
static sem_t go;
static volatile int handled, stop;

static void* work(void* unused) {
  void* block = malloc(100);
  while (sem_wait(&go) != 0) {
  }
  for (size_t size = 1; size < 40u << 20; size *= 3) {
    free(realloc(malloc(size), size * 2));
  }
  free(block);
  return unused;
}

static void start(void) {
  sem_init(&go, 0, 0);
  CHECK_EQ(pthread_create(&worker, NULL, work, NULL), 0);
}

static void before(void) {
  void* blocks[300];
  for (int i = 0; i < 300; i++) {
    blocks[i] = malloc(40);
  }
  for (int i = 0; i < 300; i++) {
    free(blocks[i]);
  }
  sem_post(&go);
  pthread_join(worker, NULL);
}

static void after(void) {
  handled++;
  start();
}

__attribute__((constructor)) static void initialise(void) {
  CHECK_EQ(pthread_atfork(before, after, after), 0);
  start();
}

static void* use_streams(void* unused) {
  while (!stop) {
    char* text = NULL;
    size_t length = 0;
    FILE* stream = open_memstream(&text, &length);
    for (int i = 0; i < 100; i++) {
      fprintf(stream, "%0*d\n", 1 + i * 37 % 3000, i);
    }
    fclose(stream);
    free(text);
  }
  return unused;
}

static void* flush(void* unused) {
  while (!stop) {
    fflush(NULL);
  }
  return unused;
}

int main(void) {
  alarm(check_time_limit_s);
  CHECK(strcmp(mete_version(), METE_VERSION) == 0);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, i == 0 ? flush : use_streams, NULL), 0);
  }
  for (int i = 1; i <= 60; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      CHECK_EQ(handled, i);
      free(malloc(1000));
      _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
  }
  stop = 1;
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  return 0;
}
