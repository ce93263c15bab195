// mete_option_get and mete_option_set: known names are read and set, unknown names and values out
// of range are refused with the documented error and change nothing. And decay_ms=0, set at run
// time, takes effect: what is freed goes back at once.
//
// SPDX-License-Identifier: MIT
#include "native.hpp"
#include "process.hpp"

namespace {

native mete;

void get_and_set() {
  for (const char* name : {"verbose", "decay_ms", "background", "stats_at_exit"}) {
    long long value = -12345;
    CHECK_EQ(mete.option_get(name, &value), 0);
    CHECK_NE(value, -12345);
    int outcome = mete.option_set(name, value);
    CHECK(outcome == 0 || outcome == EPERM); // EPERM: at start only
  }
  CHECK_EQ(mete.option_set("decay_ms", 250), 0);
  long long value = 0;
  CHECK_EQ(mete.option_get("decay_ms", &value), 0);
  CHECK_EQ(value, 250);
}

void refusals() {
  long long value = 77;
  CHECK_EQ(mete.option_get("nonsense", &value), ENOENT);
  CHECK_EQ(mete.option_get("", &value), ENOENT);
  CHECK_EQ(mete.option_get("decay", &value), ENOENT);
  CHECK_EQ(mete.option_get("decay_ms=1", &value), ENOENT);
  CHECK_EQ(value, 77);
  CHECK_EQ(mete.option_set("nonsense", 1), ENOENT);
  CHECK_EQ(mete.option_get("decay_ms", &value), 0);
  CHECK_EQ(mete.option_set("decay_ms", -1000000), EINVAL);
  long long after = 0;
  CHECK_EQ(mete.option_get("decay_ms", &after), 0);
  CHECK_EQ(after, value);
}

void decay_takes_effect() {
  CHECK_EQ(mete.option_set("decay_ms", 0), 0);
  static void* blocks[2000];
  std::size_t before = resident_bytes();
  for (void*& block : blocks) {
    block = malloc(60 * kib);
    std::memset(block, 1, 60 * kib);
  }
  CHECK_GE(resident_bytes(), before + 100 * mib);
  for (void* block : blocks) {
    free(block);
  }
  printf("decay_ms=0: resident %zu KiB before, %zu KiB right after the frees\n", before / kib,
         resident_bytes() / kib);
  CHECK_LE(resident_bytes(), before + 16 * mib);
}

} // namespace

int main() {
  require_mete();
  mete = find_native();
  get_and_set();
  refusals();
  decay_takes_effect();
}
