# What the scripts of the real programs share: where inputs are, what Debian keeps outside of PATH,
# how to give up root.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are used where this file is read

# shellcheck source=script/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../script/lib/common.sh"

quick=0
inputs=$repository/build/bench/inputs/full
if [[ ${METE_BENCH_QUICK-} == 1 ]]; then
  quick=1
  inputs=$repository/build/bench/inputs/quick
fi

# The newest PostgreSQL's own folder; nginx is in sbin.
PATH=$PATH:/usr/sbin:$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)

# Of two numbers, the second in quick mode.
sized() {
  if [[ $quick -eq 1 ]]; then echo "$2"; else echo "$1"; fi
}

# Becomes a program that refuses to be root.
become_ordinary_user() {
  if [[ $(id -u) -eq 0 ]]; then
    exec setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$@"
  fi
  exec "$@"
}
