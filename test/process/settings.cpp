// METE_OPTIONS: what is wrong is reported once on standard error, naming the key, and ignored; the
// program goes on. What is right is obeyed and not talked about.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <string>
#include <thread>

namespace {

// What the program does under the settings: allocation in several threads, a fork, so that a
// report made "once per thread" or "once per process" would show.
void work() {
  std::thread threads[3];
  for (std::thread& thread : threads) {
    thread = std::thread([] {
      for (std::size_t i = 0; i < 3000; ++i) {
        free(malloc(i * 10));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  pid_t child = fork();
  if (child == 0) {
    free(malloc(100));
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

child_result run_with(const char* options) {
  return run_child([=] {
    setenv("METE_OPTIONS", options, 1);
    execute_self("work");
  });
}

void check_quiet(const char* options) {
  child_result result = run_with(options);
  if (!result.exited_with(0) || result.length != 0) {
    describe(options, result);
  }
  CHECK(result.exited_with(0));
  CHECK_EQ(result.length, 0);
}

// `keys` are separated by spaces: each is named in exactly one line, and there are no other lines.
void check_reported(const char* options, const std::string& keys) {
  child_result result = run_with(options);
  int expected = 0;
  bool named_once = true;
  for (std::size_t begin = 0; begin < keys.size();) {
    std::size_t end = std::min(keys.find(' ', begin), keys.size());
    named_once &= result.lines_with(keys.substr(begin, end - begin).c_str()) == 1;
    ++expected;
    begin = end + 1;
  }
  if (!result.exited_with(0) || !named_once || result.lines_with("") != expected) {
    describe(options, result);
  }
  CHECK(result.exited_with(0));
  CHECK(named_once);
  CHECK_EQ(result.lines_with(""), expected);
  CHECK_EQ(result.lines_with("mete: "), expected);
}

void option_has_effect() {
  child_result result = run_child([] {
    setenv("METE_OPTIONS", "decay_ms=123,background=0", 1);
    execute_self("read");
  });
  if (!result.exited_with(0)) {
    describe("decay_ms=123,background=0", result);
  }
  CHECK(result.exited_with(0));
}

void read_options() {
  auto* get = find_function<int(const char*, long long*)>("mete_option_get");
  long long value = -1;
  CHECK_EQ(get("decay_ms", &value), 0);
  CHECK_EQ(value, 123);
  CHECK_EQ(get("background", &value), 0);
  CHECK_EQ(value, 0);
}

} // namespace

int main(int count, char** arguments) {
  if (!require_mete()) {
    check_skip("METE_OPTIONS are for mete only");
  }
  if (count > 1) {
    std::strcmp(arguments[1], "read") == 0 ? read_options() : work();
    return 0;
  }
  check_quiet("");
  check_quiet("decay_ms=500");
  check_quiet("verbose=0,decay_ms=0,background=0,stats_at_exit=0");
  check_reported("nonsense=1", "nonsense");
  check_reported("decay_ms=soon", "decay_ms");
  check_reported("decay_ms=99999999999999999999999", "decay_ms");
  check_reported("decay_ms=10x", "decay_ms");
  check_reported("decay_ms=", "decay_ms");
  check_reported("background=perhaps", "background");
  check_reported("nonsense=1,decay_ms=soon,stats_at_exit=0", "nonsense decay_ms");
  check_reported("decay=1", "decay"); // the beginning of a key is not the key
  check_reported("DECAY_MS=1", "DECAY_MS");
  // A key as long as an attacker likes: reported or cut short, but the program goes on.
  std::string long_text(100000, 'k');
  CHECK(run_with((long_text + "=1").c_str()).exited_with(0));
  CHECK(run_with(("decay_ms=" + std::string(100000, '1')).c_str()).exited_with(0));
  for (const char* odd :
       {",", ",,,", "=", "=,=", "a", "decay_ms", "decay_ms=1=2", "\x80\xff=\x01"}) {
    child_result result = run_with(odd);
    CHECK(result.exited_with(0));
  }
  CHECK_GE(run_with("stats_at_exit=1").lines_with(""), 1);
  CHECK_GE(run_with("verbose=1").lines_with(""), 1);
  option_has_effect();
}
