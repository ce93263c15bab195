/* A library whose thread-local variable glibc allocates with malloc() when a thread first uses it.
 *
 * SPDX-License-Identifier: MIT
 */
static _Thread_local char block[BLOCK_BYTES];

__attribute__((visibility("default"))) void use_tls_block(void) {
  *(volatile char*)block = 1;
}
