#!/usr/bin/env bash
# Builds the consumer programs with pkg-config's flags, as a Makefile would, and runs them.
# Usage: pkg_config_test.sh shared|full_static SOURCES WORK PKG_CONFIG CC CXX VERSION
# SPDX-License-Identifier: MIT
set -euo pipefail
kind=$1 sources=$2 work=$3 pkg_config=$4 cc=$5 cxx=$6 version=$7

fail() {
  printf 'pkg_config_test: %s\n' "$*" >&2
  exit 1
}

static_flags=()
compile_flags=(-O2 -Wall -Wextra -Werror)
if [[ $kind == full_static ]]; then
  static_flags=(--static)
  compile_flags+=(-static -DFULLY_STATIC)
fi

mkdir -p "$work"
found=$("$pkg_config" --modversion mete)
[[ $found == "$version" ]] || fail "mete.pc says version $found, not $version"
# A path with a space in it would come back escaped; none is used here.
read -ra cflags < <("$pkg_config" --cflags mete)
read -ra libs < <("$pkg_config" "${static_flags[@]}" --libs mete)
printf 'flags: %s | %s\n' "${cflags[*]}" "${libs[*]}"

# --as-needed is some systems' default; the flags must hold against it.
"$cc" -std=c11 "${compile_flags[@]}" "${cflags[@]}" "$sources/consumer.c" \
  -Wl,--as-needed "${libs[@]}" -o "$work/consumer_c"
"$cxx" -std=c++11 "${compile_flags[@]}" "${cflags[@]}" "$sources/consumer.cpp" \
  -Wl,--as-needed "${libs[@]}" -pthread -o "$work/consumer_cpp"
programs=(consumer_c consumer_cpp)
if [[ $kind == shared ]]; then
  "$cc" -std=c11 "${compile_flags[@]}" "$sources/silent.c" \
    -Wl,--as-needed "${libs[@]}" -o "$work/silent"
  programs+=(silent)
fi

LD_LIBRARY_PATH=$("$pkg_config" --variable=libdir mete)
export LD_LIBRARY_PATH
for program in "${programs[@]}"; do
  "$work/$program" "$kind" || fail "$program failed"
  if [[ $kind == full_static ]] && nm "$work/$program" | grep -w _int_malloc; then
    fail "$program contains glibc's malloc as well"
  fi
done
