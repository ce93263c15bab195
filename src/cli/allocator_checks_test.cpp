// The verdicts on who provides malloc, for processes that are made up.
//
// SPDX-License-Identifier: MIT
#include "cli/allocator_checks.hpp"

#include "cli/finding_for_test.hpp"
#include "cli/ld_preload_checks.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

const words all_of_c{"aligned_alloc", "calloc",  "free",           "malloc",  "malloc_usable_size",
                     "memalign",      "pvalloc", "posix_memalign", "realloc", "reallocarray",
                     "valloc"};

object_facts library(const std::string& path, words functions = {}) {
  object_facts facts;
  facts.path = path;
  facts.known = true;
  facts.elf.shared_object_name = file_name(path);
  facts.elf.interpreter = "/lib64/ld-linux-x86-64.so.2"; // that of programs; libraries ignore it
  std::sort(functions.begin(), functions.end());
  facts.functions = std::move(functions);
  return facts;
}

subject process_of(std::vector<object_facts> libraries) {
  subject whose;
  whose.kind = subject_kind::process;
  whose.executable = whose.readable = "/no/such/program";
  whose.process.folder = "/no/such";
  whose.objects = {library(whose.executable)};
  whose.objects.insert(whose.objects.end(), libraries.begin(), libraries.end());
  whose.objects.push_back(library("/no/such/libc.so.6", all_of_c));
  return whose;
}

TEST(active_allocator_check, names_the_provider) {
  EXPECT_EQ(said(check_active_allocator(process_of({}))),
            "ok: malloc, free and 9 more come from /no/such/libc.so.6 (glibc)\n");
  const subject whose = process_of({library("/no/such/libmete.so.0.1.0", all_of_c)});
  EXPECT_EQ(said(check_active_allocator(whose)),
            "ok: malloc, free and 9 more come from /no/such/libmete.so.0.1.0 (mete 0.1.0)\n");
  EXPECT_EQ(malloc_provider(whose), &whose.objects[1]);
}

TEST(active_allocator_check, functions_of_different_allocators_are_a_problem) {
  const subject whose = process_of({library("/half.so", {"malloc", "free", "calloc", "realloc"})});
  const std::string text = said(check_active_allocator(whose), "mixed");
  EXPECT_TRUE(holds(text, "problem: posix_memalign comes from /no/such/libc.so.6, but malloc from "
                          "/half.so"))
      << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(active_allocator_check, functions_that_ask_others_may_be_elsewhere) {
  words most = all_of_c;
  std::erase(most, "pvalloc");
  std::erase(most, "reallocarray");
  subject whose =
      process_of({library("/libmete.so.0", most), library("/libstdc++.so.6", {"_Znwm", "_ZdlPv"})});
  EXPECT_EQ(said(check_active_allocator(whose)),
            "ok: malloc, free and 7 more come from /libmete.so.0 (mete)\n");
  whose.objects[0].functions = {"_ZdlPv", "_Znwm"};
  EXPECT_TRUE(holds(said(check_active_allocator(whose), "operators"), "note: operator new and"));
  whose.objects[0].functions = {"_Znwm"};
  EXPECT_TRUE(holds(said(check_active_allocator(whose), "operators"), "problem: operator new"));
}

TEST(active_allocator_check, valgrind_and_sanitizers_replace_malloc) {
  subject whose = process_of({library("/vgpreload_memcheck-amd64-linux.so", all_of_c)});
  EXPECT_TRUE(holds(said(check_active_allocator(whose)), "note: the process runs under valgrind"));
  EXPECT_EQ(malloc_provider(whose), nullptr);
  whose.preloads = {"/libmete.so"};
  EXPECT_TRUE(holds(said(check_active_allocator(whose)), "problem: "));
  whose = process_of({});
  whose.objects[0].sanitizer = "address";
  EXPECT_TRUE(holds(said(check_active_allocator(whose), "sanitizer"), "note: /no/such/program is "
                                                                      "built with "
                                                                      "-fsanitize=address"));
}

TEST(active_allocator_check, files_that_were_replaced) {
  subject whose = process_of({library("/libmete.so.0.1.0", all_of_c)});
  whose.process.objects = {{"/libmete.so.0.1.0", "", 0, true}, {"/libother.so", "", 0, true}};
  EXPECT_TRUE(holds(said(check_active_allocator(whose), "replaced"), "/libmete.so.0.1.0 was"));
  EXPECT_FALSE(holds(said(check_active_allocator(whose), "replaced"), "libother"));
}

TEST(active_allocator_check, what_cannot_be_read_is_not_passed_over_in_silence) {
  subject whose = process_of({library("/libmete.so")});
  whose.objects[1].known = false;
  EXPECT_EQ(malloc_provider(whose), nullptr);
  EXPECT_TRUE(holds(said(check_active_allocator(whose)),
                    "note: /libmete.so comes first, but cannot be read: malloc is its own if it "
                    "has one, else that of /no/such/libc.so.6"));
}

TEST(active_allocator_check, libraries_that_the_loader_does_not_find) {
  subject whose = process_of({});
  whose.missing = {"libgone.so.1"};
  EXPECT_TRUE(
      holds(said(check_active_allocator(whose)), "problem: the program needs libgone.so.1"));
}

TEST(ld_preload_check, what_is_loaded_and_what_is_not) {
  subject whose = process_of({library("/no/such/libmete.so.0.1.0", all_of_c)});
  whose.preloads = {"/no/such/libmete.so", "/no/such/libgone.so"};
  EXPECT_EQ(said(check_ld_preload(whose)),
            "ok: LD_PRELOAD: /no/such/libmete.so.0.1.0 is loaded\n"
            "problem: LD_PRELOAD names /no/such/libgone.so, which does not exist | correct the "
            "path, or unset LD_PRELOAD\n");
  whose.preloads = {"libwithoutfolder.so"};
  EXPECT_TRUE(holds(said(check_ld_preload(whose)), "name it with its whole path"));
  whose.rights = "is setgid";
  EXPECT_TRUE(holds(said(check_ld_preload(whose)), "/no/such/program is setgid, so the loader"));
}

TEST(ld_preload_check, loaded_but_not_first) {
  subject whose =
      process_of({library("/libjemalloc.so.2", all_of_c), library("/libmete.so", all_of_c)});
  whose.preloads = {"/libjemalloc.so.2", "/libmete.so"};
  const std::string text = said(check_ld_preload(whose));
  EXPECT_TRUE(holds(text, "ok: LD_PRELOAD: /libjemalloc.so.2 is loaded")) << text;
  EXPECT_TRUE(holds(text, "problem: /libmete.so is loaded by LD_PRELOAD, but malloc comes from "
                          "/libjemalloc.so.2"))
      << text;
  EXPECT_TRUE(holds(said(check_other_allocators(whose)), "/libmete.so is loaded as well"));
}

TEST(ld_preload_check, an_environment_that_was_overwritten_is_said) {
  subject whose = process_of({});
  whose.process.environment_overwritten = true;
  EXPECT_TRUE(holds(said(check_ld_preload(whose)), "note: the program has written over its env"));
}

TEST(other_allocators_check, inside_and_called) {
  subject whose = process_of({library("/libmete.so", all_of_c)});
  EXPECT_EQ(said(check_other_allocators(whose)), "");
  whose.objects[0].defined = {{"jemalloc", "je_malloc"}};
  whose.objects[0].called = {{"mimalloc", "mi_malloc"}};
  const std::string text = said(check_other_allocators(whose));
  EXPECT_TRUE(holds(text, "/no/such/program has its own jemalloc inside (je_malloc)")) << text;
  EXPECT_TRUE(holds(text, "/no/such/program calls mimalloc's mi_malloc, which knows nothing of "
                          "mete"))
      << text;
}

} // namespace
} // namespace mete::cli
