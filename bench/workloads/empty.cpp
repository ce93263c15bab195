// SPDX-License-Identifier: MIT
// The empty program: what an allocator costs before the first line of main, in time and memory. It
// starts itself again for each argument, by exec: so that one run holds many starts, and nothing
// else. (A shell's loop would add its forks, and a process between the measuring and the measured.)

#include <unistd.h>

int main(int count, char** arguments) {
  if (count <= 1) {
    return 0;
  }
  execv("/proc/self/exe", arguments + 1);
  return 1;
}
