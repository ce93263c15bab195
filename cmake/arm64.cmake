# Toolchain: cross-builds for arm64 on Debian with g++-aarch64-linux-gnu; what is built runs under
# qemu-user. QEMU_PAGESIZE=65536 in the environment makes it see pages of that size.
#
#   cmake --preset arm64 && cmake --build build/arm64
#   QEMU_PAGESIZE=16384 ctest --test-dir build/arm64
#
# The same binaries serve all page sizes: nothing here tells the compiler one.
#
# SPDX-License-Identifier: MIT

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(mete_cross aarch64-linux-gnu)
find_program(mete_cross_compiler ${mete_cross}-g++)
if(NOT mete_cross_compiler)
  message(FATAL_ERROR "the arm64 build needs ${mete_cross}-g++; install it with: "
    "script/bootstrap all-tests")
endif()
set(CMAKE_C_COMPILER ${mete_cross}-gcc)
set(CMAKE_CXX_COMPILER ${mete_cross}-g++)

# Programs come from this machine; headers, libraries and packages never do.
set(CMAKE_FIND_ROOT_PATH /usr/${mete_cross})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# The full path: CMake takes a bare name for a file of the build tree.
find_program(mete_emulator NAMES qemu-aarch64 qemu-aarch64-static)
if(NOT mete_emulator)
  message(FATAL_ERROR "the arm64 tests need qemu-aarch64; install it with: "
    "script/bootstrap all-tests")
endif()
set(CMAKE_CROSSCOMPILING_EMULATOR ${mete_emulator} -L /usr/${mete_cross})
