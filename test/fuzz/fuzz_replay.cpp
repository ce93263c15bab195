// The fuzz target without a fuzzer: replays pseudo-random inputs, or the files that are named.
//
//   fuzz_replay [--seed N] [--first N] [--iterations N]
//   fuzz_replay FILE...
//
// On a failure it prints the iteration and keeps its input in fuzz_replay_failed.bin, which a
// second call, or the libFuzzer target, replays. (The allocator's state before it is not in the
// file; if it matters, repeat the iterations from the first.)
//
// SPDX-License-Identifier: MIT
#include "replay.hpp"

#include <check.hpp>

#include <array>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <vector>

namespace {

std::vector<std::uint8_t> current;
char current_name[256] = "nothing yet";

void keep_failed_input(int signal) {
  const int file = open("fuzz_replay_failed.bin", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool kept = file >= 0 && write(file, current.data(), current.size()) ==
                                     static_cast<ssize_t>(current.size());
  check_print("fuzz_replay: failed on ", 23);
  check_print(current_name, std::strlen(current_name));
  const char* where = kept ? "; its input is in ./fuzz_replay_failed.bin\n" : "\n";
  check_print(where, std::strlen(where));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// Calls, most of them well formed, as a fuzzer would find only after a while: a run prefers a few
// kinds of call and sizes.
void make_input(std::uint64_t seed, std::uint64_t iteration) {
  random_source random{seed * 0xd1342543de82ef95U + iteration};
  std::array<std::uint8_t, 6> preferred{};
  for (std::uint8_t& each : preferred) {
    each = static_cast<std::uint8_t>(random.next());
  }
  current.clear();
  const std::size_t length = 16 + random.below(3000);
  const std::size_t wildness = 1 + random.below(100);
  while (current.size() < length) {
    const bool wild = random.below(100) < wildness;
    current.push_back(wild ? static_cast<std::uint8_t>(random.next())
                           : preferred[random.below(preferred.size())]);
  }
}

void run_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "fuzz_replay: cannot read %s\n", path);
    std::exit(2);
  }
  current.assign(std::istreambuf_iterator<char>(file), {});
  std::snprintf(current_name, sizeof current_name, "%s", path);
  fuzz::replay(current.data(), current.size());
}

[[noreturn]] void usage() {
  std::fprintf(stderr, "usage: fuzz_replay [--seed N] [--first N] [--iterations N], or "
                       "fuzz_replay FILE...\n");
  std::exit(2);
}

std::uint64_t number(const char* text) {
  char* end = nullptr;
  const std::uint64_t value = text != nullptr ? std::strtoull(text, &end, 10) : 0;
  if (end == nullptr || end == text || *end != '\0') {
    usage();
  }
  return value;
}

} // namespace

int main(int count, char** arguments) {
  std::signal(SIGABRT, keep_failed_input);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  std::signal(SIGSEGV, keep_failed_input);
#endif
  if (count > 1 && arguments[1][0] != '-') {
    for (int index = 1; index < count; ++index) {
      run_file(arguments[index]);
    }
    std::printf("fuzz_replay: %d files: ok\n", count - 1);
    return 0;
  }
  std::uint64_t seed = 1;
  std::uint64_t first = 0;
  std::uint64_t iterations = 500;
  for (int index = 1; index < count; index += 2) {
    const std::string option = arguments[index];
    std::uint64_t* value = option == "--seed"         ? &seed
                           : option == "--first"      ? &first
                           : option == "--iterations" ? &iterations
                                                      : nullptr;
    if (value == nullptr) {
      usage();
    }
    *value = number(arguments[index + 1]);
  }
  for (std::uint64_t iteration = first; iteration < first + iterations; ++iteration) {
    make_input(seed, iteration);
    std::snprintf(current_name, sizeof current_name, "--seed %llu --first %llu",
                  static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(iteration));
    fuzz::replay(current.data(), current.size());
  }
  std::printf("fuzz_replay: seed %llu, %llu inputs: ok\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(iterations));
  return 0;
}
