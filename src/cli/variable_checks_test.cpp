// Which variables take effect.
//
// SPDX-License-Identifier: MIT
#include "cli/variable_checks.hpp"

#include "cli/finding_for_test.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

variable_reader on(const std::string& active) {
  variable_reader reader;
  reader.active = active;
  return reader;
}

std::string options(const std::string& text, const variable_reader& reader = on("mete")) {
  return said(check_mete_options({"METE_OPTIONS=" + text}, reader));
}

TEST(mete_options_check, what_the_library_takes_is_ok) {
  EXPECT_EQ(options("decay_ms=1000,dirty_limit=16m verbose"),
            "ok: METE_OPTIONS is accepted: decay_ms=1000,dirty_limit=16m verbose\n");
  EXPECT_EQ(said(check_mete_options({"PATH=/bin"}, on("mete"))), "");
  EXPECT_EQ(options("", on("mete")), "");
  EXPECT_EQ(options("decay_ms=1", on("glibc")), ""); // said by the check of variables
}

TEST(mete_options_check, names_what_it_does_not_take_and_what_was_meant) {
  EXPECT_EQ(options("decay_ms=5,decay=7"),
            "problem: METE_OPTIONS: unknown option 'decay' is ignored | write decay_ms=7\n");
}

TEST(mete_options_check, remedies) {
  EXPECT_TRUE(holds(options("dirty_limits=5"), "| write dirty_limit=5"));
  EXPECT_TRUE(holds(options("huge-pages"), "| write huge_pages"));
  EXPECT_TRUE(holds(options("nonsense=5"), "| leave it out"));
  EXPECT_TRUE(holds(options("=5"), "| leave it out"));
  EXPECT_TRUE(holds(options("decay_ms=9999999"), "milliseconds, 0 to 3600000 | write "
                                                 "decay_ms=3600000"));
  EXPECT_TRUE(holds(options("decay_ms=-4"), "| write decay_ms=0"));
  EXPECT_TRUE(holds(options("decay_ms=soon"), "| write decay_ms=300"));
}

TEST(mete_options_check, a_program_that_gained_rights_does_not_look) {
  variable_reader reader = on("mete");
  reader.secure = true;
  EXPECT_TRUE(holds(options("decay_ms=5", reader), "note: METE_OPTIONS is not looked at"));
}

TEST(variables_check, of_other_allocators_have_no_effect) {
  const words environment{"MALLOC_ARENA_MAX=2",       "MALLOC_CONF=x", "MIMALLOC_VERBOSE=1",
                          "MALLOC_TRIM_THRESHOLD_=1", "PATH=/bin",     "MALLOC_ARENA_MAXIMUM=1"};
  EXPECT_EQ(
      said(check_variables(environment, on("mete"))),
      "note: MALLOC_ARENA_MAX is set, but it is for glibc: it has no effect on mete | none is "
      "needed: mete has no arenas\n"
      "note: MALLOC_CONF is set, but it is for jemalloc: it has no effect on mete | mete's "
      "options for that: decay_ms, dirty_limit or background\n"
      "note: MIMALLOC_VERBOSE is set, but it is for mimalloc: it has no effect on mete | "
      "mete's options for that: decay_ms or huge_pages\n"
      "note: MALLOC_TRIM_THRESHOLD_ is set, but it is for glibc: it has no effect on mete | "
      "mete's options for that: dirty_limit\n");
  const std::string on_glibc = said(check_variables(environment, on("glibc")));
  EXPECT_FALSE(holds(on_glibc, "MALLOC_ARENA_MAX"));
  EXPECT_TRUE(holds(on_glibc, "MALLOC_CONF is set, but it is for jemalloc: it has no effect on "
                              "glibc\n"));
  EXPECT_EQ(said(check_variables(environment, on(""))), "");
}

TEST(variables_check, an_allocator_inside_the_program_reads_its_own) {
  variable_reader reader = on("mete");
  reader.inside = {"jemalloc"};
  EXPECT_EQ(said(check_variables({"_RJEM_MALLOC_CONF=x"}, reader)), "");
}

TEST(variables_check, tunables_of_malloc_only) {
  const words environment{"GLIBC_TUNABLES=glibc.malloc.tcache_count=5:glibc.pthread.rseq=0:"
                          "glibc.malloc.arena_max=1"};
  const std::string text = said(check_variables(environment, on("mete")));
  EXPECT_TRUE(holds(text, "glibc.malloc.tcache_count (in GLIBC_TUNABLES)")) << text;
  EXPECT_TRUE(holds(text, "thread_cache_bytes")) << text;
  EXPECT_TRUE(holds(text, "glibc.malloc.arena_max")) << text;
  EXPECT_FALSE(holds(text, "rseq")) << text;
  EXPECT_EQ(said(check_variables(environment, on("glibc"))), "");
}

TEST(variables_check, mete_options_without_mete) {
  EXPECT_TRUE(holds(said(check_variables({"METE_OPTIONS=verbose"}, on("glibc"))),
                    "note: METE_OPTIONS is set, but it is for mete"));
  EXPECT_EQ(said(check_variables({"METE_OPTIONS=verbose"}, on("mete"))), "");
}

TEST(variables_check, python_keeps_small_objects_to_itself) {
  variable_reader reader = on("mete");
  EXPECT_EQ(said(check_variables({}, reader), "python"), "");
  reader.python = true;
  EXPECT_TRUE(holds(said(check_variables({}, reader), "python"), "note: CPython"));
  EXPECT_TRUE(holds(said(check_variables({"PYTHONMALLOC=debug"}, reader), "python"), "note: "));
  EXPECT_TRUE(holds(said(check_variables({"PYTHONMALLOC=malloc"}, reader), "python"), "ok: "));
}

} // namespace
} // namespace mete::cli
