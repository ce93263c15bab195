// What hinders a preloaded allocator, on files built in memory. Real binaries are in run_test.py.
//
// SPDX-License-Identifier: MIT
#include "cli/preload_check.hpp"

#include "cli/command.hpp"
#include "cli/elf_image_for_test.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

const elf_identity x86_64{64, true, EM_X86_64};

// A loader that is there, whatever machine the test runs on.
elf_image_for_test program() {
  elf_image_for_test image;
  image.interpreter = "/bin/sh";
  image.needed = {"libc.so.6"};
  image.dynamic_symbols = {{"malloc", STB_GLOBAL, false}};
  return image;
}

preload_check check(const elf_image_for_test& image) {
  return check_preload_in(image.build_64(), "prog", x86_64);
}

void expect_hindrance(const elf_image_for_test& image, int status, const std::string& words) {
  const preload_check result = check(image);
  ASSERT_TRUE(result.hindrance) << words;
  EXPECT_EQ(result.hindrance->status, status);
  EXPECT_NE(result.hindrance->message.find(words), std::string::npos) << result.hindrance->message;
  EXPECT_EQ(result.hindrance->message.find('\n'), std::string::npos);
}

TEST(check_preload, a_plain_program_is_fine) {
  const preload_check result = check(program());
  EXPECT_FALSE(result.hindrance) << result.hindrance->message;
  EXPECT_TRUE(result.notes.empty());
}

TEST(check_preload, no_interpreter_is_static) {
  auto image = program();
  image.interpreter.clear();
  expect_hindrance(image, status_failed, "statically linked");
}

TEST(check_preload, the_loader_itself_is_fine) {
  auto image = program();
  image.interpreter.clear();
  image.shared_object_name = "ld-linux-x86-64.so.2";
  EXPECT_FALSE(check(image).hindrance);
}

TEST(check_preload, every_sanitizer_with_a_malloc_by_its_symbol) {
  for (const char* symbol :
       {"__asan_init", "__tsan_init", "__msan_init", "__lsan_init", "__hwasan_init"})
    for (const bool defined : {false, true}) {
      auto image = program();
      image.dynamic_symbols.push_back({symbol, STB_GLOBAL, defined});
      expect_hindrance(image, status_failed, "-fsanitize=");
      image = program();
      image.full_symbols.push_back({symbol, STB_GLOBAL, defined});
      expect_hindrance(image, status_failed, "-fsanitize=");
    }
}

TEST(check_preload, every_sanitizer_with_a_malloc_by_its_library) {
  for (const char* library : {"libasan.so.8", "libtsan.so.2", "liblsan.so.0", "libhwasan.so.0",
                              "libclang_rt.asan-x86_64.so"}) {
    auto image = program();
    image.needed.push_back(library);
    expect_hindrance(image, status_failed, "-fsanitize=");
  }
}

TEST(check_preload, asking_for_a_sanitizer_weakly_is_fine) {
  auto image = program();
  image.dynamic_symbols.push_back({"__asan_init", STB_WEAK, false});
  EXPECT_FALSE(check(image).hindrance);
}

TEST(check_preload, undefined_behaviour_sanitizer_is_fine) {
  auto image = program();
  image.needed.push_back("libubsan.so.1");
  EXPECT_FALSE(check(image).hindrance);
}

TEST(check_preload, other_architectures) {
  auto image = program();
  image.machine = EM_AARCH64;
  expect_hindrance(image, status_failed, "built for arm64 and the library for x86-64");
  image.machine = EM_386;
  const auto result = check_preload_in(image.build_32(), "prog", x86_64);
  ASSERT_TRUE(result.hindrance);
  EXPECT_NE(result.hindrance->message.find("32-bit x86"), std::string::npos);
}

TEST(check_preload, a_32_bit_program_with_a_32_bit_library_is_fine) {
  auto image = program();
  image.machine = EM_386;
  EXPECT_FALSE(check_preload_in(image.build_32(), "prog", {32, true, EM_386}).hindrance);
}

TEST(check_preload, musl_and_missing_loaders) {
  auto image = program();
  image.interpreter = "/lib/ld-musl-x86_64.so.1";
  expect_hindrance(image, status_failed, "musl");
  image.interpreter = "/no/such/ld.so";
  expect_hindrance(image, status_not_found, "/no/such/ld.so");
}

TEST(check_preload, a_malloc_in_the_program_wins_over_ours) {
  auto image = program();
  image.dynamic_symbols = {{"malloc", STB_GLOBAL, true}};
  expect_hindrance(image, status_failed, "malloc of its own");
  image.dynamic_symbols.push_back({"mete_version", STB_GLOBAL, true});
  const preload_check result = check(image);
  EXPECT_FALSE(result.hindrance);
  EXPECT_EQ(result.notes.size(), 1u);
}

TEST(check_preload, no_program_at_all) {
  auto image = program();
  image.type = ET_REL;
  expect_hindrance(image, status_not_executable, "not a program");
  const preload_check empty = check_preload_in({}, "prog", x86_64);
  ASSERT_TRUE(empty.hindrance);
  EXPECT_EQ(empty.hindrance->status, status_not_executable);
}

TEST(check_preload, own_operators_are_a_note_only) {
  auto image = program();
  image.dynamic_symbols.push_back({"_Znwm", STB_GLOBAL, true});
  const preload_check result = check(image);
  EXPECT_FALSE(result.hindrance);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_NE(result.notes[0].find("operator new comes from prog"), std::string::npos);
  image.dynamic_symbols.push_back({"_ZSt15get_new_handlerv", STB_GLOBAL, true});
  EXPECT_TRUE(check(image).notes.empty()); // those of a C++ library that is linked in
}

TEST(check_preload, other_allocators_are_a_note_only) {
  for (const char* library : {"libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"}) {
    auto image = program();
    image.needed.push_back(library);
    const preload_check result = check(image);
    EXPECT_FALSE(result.hindrance);
    ASSERT_EQ(result.notes.size(), 1u);
    EXPECT_NE(result.notes[0].find(library), std::string::npos);
  }
}

} // namespace
} // namespace mete::cli
