// Nearly nothing of the C++ library is used here, so that nothing but mete itself can ask for what
// a failing operator new needs of it: the exception must arrive nevertheless.
// SPDX-License-Identifier: MIT
#include <cstdint>
#include <new>

int main() {
  void* (*volatile allocate)(std::size_t) = &::operator new;
  try {
    ::operator delete(allocate(SIZE_MAX / 4));
  } catch (const std::bad_alloc&) {
    return 0;
  }
  return 1;
}
