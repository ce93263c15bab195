// What the symbols of a file say about allocation.
//
// SPDX-License-Identifier: MIT
#include "cli/object_facts.hpp"

#include "cli/elf_image_for_test.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

object_facts look(const elf_image_for_test& image, bool program = false,
                  const std::string& path = "/usr/lib/libexample.so") {
  return look_at_object(image.build_64(), path, program);
}

TEST(look_at_object, a_library_offers_what_its_dynamic_table_defines) {
  elf_image_for_test image;
  image.dynamic_symbols = {{"malloc"},  {"free"},
                           {"_Znwm"},   {"other"},
                           {"_ZN1Cnw"}, {"_ZdlPv", STB_WEAK},
                           {"malloc"},  {"calloc", STB_GLOBAL, false}};
  image.full_symbols = {{"realloc"}};
  const object_facts facts = look(image);
  EXPECT_TRUE(facts.known);
  EXPECT_EQ(facts.functions, (words{"_ZdlPv", "_Znwm", "free", "malloc"}));
}

TEST(look_at_object, calls_of_malloc_and_a_cxx_library_inside) {
  elf_image_for_test image;
  EXPECT_FALSE(look(image).calls_malloc);
  image.dynamic_symbols = {{"malloc"}};
  EXPECT_FALSE(look(image).calls_malloc); // its own
  image.dynamic_symbols = {{"aligned_alloc", STB_GLOBAL, false}};
  EXPECT_TRUE(look(image).calls_malloc);
  EXPECT_FALSE(look(image).cxx_library_inside);
  image.full_symbols = {{"_ZSt15get_new_handlerv"}};
  EXPECT_TRUE(look(image).cxx_library_inside);
}

TEST(look_at_object, a_static_program_has_its_functions_for_itself) {
  elf_image_for_test image;
  image.interpreter.clear();
  image.full_symbols = {{"malloc", STB_LOCAL}, {"free"}};
  const object_facts facts = look(image, true);
  EXPECT_TRUE(facts.is_static());
  EXPECT_EQ(facts.functions, (words{"free", "malloc"}));
}

TEST(look_at_object, an_allocator_inside_is_seen_though_its_names_are_local) {
  elf_image_for_test image;
  image.full_symbols = {{"_rjem_malloc", STB_LOCAL}, {"je_malloc"}, {"mi_malloc"}};
  const object_facts facts = look(image, true);
  ASSERT_EQ(facts.defined.size(), 2u);
  EXPECT_EQ(facts.defined[0].allocator, "jemalloc");
  EXPECT_EQ(facts.defined[0].symbol, "_rjem_malloc");
  EXPECT_EQ(facts.defined[1].allocator, "mimalloc");
  EXPECT_TRUE(facts.functions.empty());
}

TEST(look_at_object, a_call_of_an_allocators_own_interface_is_none_inside) {
  elf_image_for_test image;
  image.dynamic_symbols = {{"mallctl", STB_GLOBAL, false}, {"mi_malloc", STB_WEAK, false}};
  const object_facts facts = look(image, true);
  EXPECT_TRUE(facts.defined.empty());
  ASSERT_EQ(facts.called.size(), 1u); // who refers weakly can do without
  EXPECT_EQ(facts.called[0].symbol, "mallctl");
}

TEST(look_at_object, what_is_no_elf_file_is_not_known) {
  const object_facts facts = look_at_object({}, "/x", true);
  EXPECT_FALSE(facts.known);
  EXPECT_EQ(facts.path, "/x");
}

TEST(allocator_name, by_file_by_soname_and_by_symbols) {
  elf_image_for_test image;
  EXPECT_EQ(allocator_name(look(image, false, "/opt/libjemalloc.so.2")), "jemalloc");
  EXPECT_EQ(allocator_name(look(image)), "");
  image.full_symbols = {{"mete_version"}};
  EXPECT_EQ(allocator_name(look(image)), "mete");
  image.shared_object_name = "libc.so.6";
  EXPECT_EQ(allocator_name(look(image)), "glibc");
  elf_image_for_test instrumented;
  instrumented.dynamic_symbols = {{"malloc"}, {"__asan_init"}};
  EXPECT_EQ(allocator_name(look(instrumented, true)), "the address sanitizer");
}

TEST(glibc, tells_its_version) {
  elf_image_for_test image;
  image.shared_object_name = "libc.so.6";
  image.full_symbols = {{"GNU C Library (Somebody 2.35-1) stable release version 2.35."}};
  EXPECT_EQ(look(image).c_library_version, "2.35");
  image.full_symbols = {{"GNU C Library ("}};
  EXPECT_EQ(look(image).c_library_version, "");
}

} // namespace
} // namespace mete::cli
