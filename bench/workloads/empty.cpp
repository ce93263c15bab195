// SPDX-License-Identifier: MIT
// The empty program: what an allocator costs before the first line of main, in time and memory.

int main() {
  return 0;
}
