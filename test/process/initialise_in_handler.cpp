// A signal handler that allocates while the library starts: it interrupts a complaint about an
// option, which is written to a full pipe. It must get memory, and not wait for the start that it
// holds up.
//
// The argument is the library's path: it is opened, because a handler cannot be there before a
// preloaded library starts.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <thread>

namespace {

const char* path;
int ends[2];
volatile sig_atomic_t handled = 0;

struct interface {
  void* (*allocate)(std::size_t);
  void (*release)(void*);
};

interface find_in(void* library) {
  return {find_function<void*(std::size_t)>("malloc", library),
          find_function<void(void*)>("free", library)};
}

void use(const interface& mete) {
  for (std::size_t size = 1; size < 64 * mib; size *= 3) {
    auto* const block = static_cast<char*>(mete.allocate(size));
    CHECK(block != nullptr);
    block[0] = block[size - 1] = 1;
    mete.release(block);
  }
}

void allocate_and_make_room(int) {
  use(find_in(dlopen(path, RTLD_NOW | RTLD_NOLOAD)));
  handled = 1;
  char text[4096];
  CHECK_GT(read(ends[0], text, sizeof text), 0);
  CHECK_GT(read(ends[0], text, sizeof text), 0);
}

} // namespace

int main(int count, char** arguments) {
  alarm(check_time_limit_s);
  CHECK_EQ(count, 2);
  path = arguments[1];
  setenv("METE_OPTIONS", "no_such_option=1", 1);
  CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
  static char page[4096];
  while (write(ends[1], page, sizeof page) > 0) {
  }
  CHECK_EQ(fcntl(ends[1], F_SETFL, 0), 0);
  const int screen = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  struct sigaction action {};
  action.sa_handler = allocate_and_make_room;
  sigaction(SIGUSR1, &action, nullptr);
  std::thread([main_thread = pthread_self()] { // when the start has come to the pipe
    sleep_ms(300);
    pthread_kill(main_thread, SIGUSR1);
  })
      .detach();
  void* const library = dlopen(path, RTLD_NOW);
  dup2(screen, STDERR_FILENO);
  CHECK(library != nullptr);
  CHECK_EQ(handled, 1);
  const interface mete = find_in(library);
  use(mete);
  std::thread([&] { use(mete); }).join();
}
