# What the scripts share: where the repository is, and how to fail with one clear line.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are used where this file is read

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Debian's tools speak English here, whatever the user's language: their output is read.
export LC_ALL=C.UTF-8

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

cpu_count() {
  nproc
}
