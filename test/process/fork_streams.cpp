// Forks beside threads that use stdio: fork() itself takes the list of streams, and a thread that
// holds it, or a stream that another one waits for with the list in hand, may be allocating. (glibc
// had this with its own malloc: bug 19431.) Several threads fork at once.
//
// SPDX-License-Identifier: MIT
#include "every_kind.hpp"
#include "process.hpp"

#include <atomic>
#include <stdio_ext.h>
#include <thread>

namespace {

constexpr int forks_each = 60;
std::atomic<bool> stop{false};
std::atomic<long> turns{0};
char name[] = "/tmp/mete_fork_streams_XXXXXX";

void flush_all() {
  while (!stop) {
    fflush(nullptr);
    ++turns;
  }
}

// getline() makes its line longer while it holds the stream.
void read_lines() {
  while (!stop) {
    FILE* const file = fopen(name, "r");
    CHECK(file != nullptr);
    char* line = nullptr;
    std::size_t room = 0;
    while (getline(&line, &room, file) > 0) {
      free(line);
      line = nullptr;
      room = 0;
    }
    free(line);
    fclose(file);
    ++turns;
  }
}

// A memory stream allocates when it is flushed, which fflush(nullptr) does with the list in hand.
void write_memory_streams() {
  while (!stop) {
    char* text = nullptr;
    std::size_t length = 0;
    FILE* const stream = open_memstream(&text, &length);
    CHECK(stream != nullptr);
    for (int i = 0; i < 200; ++i) {
      fprintf(stream, "%0*d\n", 1 + i * 37 % 3000, i);
    }
    fclose(stream);
    CHECK(text != nullptr && length > 200);
    free(text);
    ++turns;
  }
}

void open_pipes() {
  while (!stop) {
    FILE* const pipe = popen("exit 3", "r");
    CHECK(pipe != nullptr);
    CHECK_EQ(WEXITSTATUS(pclose(pipe)), 3);
    ++turns;
  }
}

void fork_often() {
  for (int round = 0; round < forks_each; ++round) {
    const pid_t child = fork();
    CHECK_GE(child, 0);
    if (child == 0) {
      alarm(60);
      stop = true;
      free(malloc(1000));
      char* text = nullptr;
      std::size_t length = 0;
      FILE* const stream = open_memstream(&text, &length);
      fprintf(stream, "%d", round);
      fclose(stream);
      CHECK_EQ(std::atoi(text), round);
      free(text);
      std::thread(use_every_kind).join();
      _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
  }
}

} // namespace

int main() {
  require_mete();
  FILE* const file = fdopen(mkstemp(name), "w");
  CHECK(file != nullptr);
  for (int i = 0; i < 1000; ++i) {
    fprintf(file, "%0*d\n", 1 + i * 37 % 60000, i);
  }
  fclose(file);
  {
    std::thread users[] = {
        std::thread(flush_all), std::thread(read_lines), std::thread(write_memory_streams),
        std::thread(flush_all), std::thread(read_lines), std::thread(open_pipes)};
    std::thread forkers[] = {std::thread(fork_often), std::thread(fork_often)};
    for (std::thread& thread : forkers) {
      thread.join();
    }
    CHECK_GT(turns.load(), 0);
    stop = true;
    for (std::thread& thread : users) {
      thread.join();
    }
  }
  unlink(name);
}
