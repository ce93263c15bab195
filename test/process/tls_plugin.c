/* A library that takes 16 bytes of the static thread-local storage that glibc keeps for libraries
 * opened at run time (initial-exec), as graphics drivers and OpenMP do. libmete.so needs some of
 * the same storage; dlopen_library opens many of these beside it.
 *
 * SPDX-License-Identifier: MIT
 */
__attribute__((tls_model("initial-exec"))) static _Thread_local long counters[2];

__attribute__((visibility("default"))) long tls_plugin_count(long more) {
  return counters[1] += more;
}
