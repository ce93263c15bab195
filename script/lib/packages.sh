# The Debian packages that each group needs. One list for people and for script/bootstrap.
# Group "test" contains "build"; "demo" and "bench" contain "build"; "all-tests" contains "test".
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # the lists are used where this file is read

packages_build=(
  ca-certificates git g++ cmake ninja-build
  libcli11-dev libfmt-dev nlohmann-json3-dev libtomlplusplus-dev # the mete command
)
# The report of mete compare is bundled with npm. One that is there already, from wherever, is used:
# Debian's packages cannot be installed beside those of Node.js itself.
if ! command -v npm >/dev/null; then
  packages_build+=(nodejs npm)
fi

packages_demo=(
  redis-server redis-tools libjemalloc2
  python3
)

# What bench/suite.toml runs, and the rivals; libbenchmark-dev is for script/bench --micro.
packages_bench=(
  libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 libtbbmalloc2 libbenchmark-dev
  redis-server redis-tools memcached libmemcached-tools nginx-light wrk postgresql util-linux
  rocksdb-tools python3 ruby php-cli lua5.4 perl r-base-core sqlite3 ghostscript z3 ffmpeg
  valgrind libc6-dbg # bench/shared_words
  libboost-dev libboost-container-dev libfoonathan-memory-dev libtbb-dev # bench/toolkit.toml
)

packages_test=(
  # A second compiler with its sanitizers, and GoogleTest.
  clang libclang-rt-14-dev llvm googletest libgtest-dev libgmock-dev libbenchmark-dev
  # What checks sources and objects.
  clang-format clang-tidy shellcheck binutils file
  # valgrind refuses to start without libc6-dbg, which it only recommends.
  valgrind libc6-dbg gdb strace
  pkg-config python3 procps util-linux
  # Programs that the tests run on mete.
  redis-server redis-tools memcached nginx-light postgresql
  lua5.4 perl ruby php-cli sqlite3 ghostscript
  libpython3.11-testsuite # CPython's own regression tests, for /usr/bin/python3
  # A browser, with a font, for the report.
  chromium fonts-dejavu-core
  # The rivals that results are compared with, and those of the toolkit.
  libmimalloc2.0 libjemalloc2
  libboost-dev libboost-container-dev libfoonathan-memory-dev libtbb-dev
)

packages_all_tests=(
  clang-19 # the newest in Debian 12: the toolkit's headers are compiled by users' compilers
  wrk apache2-utils
  g++-aarch64-linux-gnu qemu-user
  libtcmalloc-minimal4 libtbbmalloc2
)

# script/fresh, on the system that makes the others.
packages_fresh=(debootstrap git util-linux)

# Packages that come with a service which Debian starts on installation.
services_of_package() {
  case $1 in
    redis-server) echo redis-server ;;
    memcached) echo memcached ;;
    nginx-light) echo nginx ;;
    postgresql) echo postgresql ;;
  esac
}
