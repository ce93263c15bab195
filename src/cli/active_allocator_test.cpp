// The loader's rules: who provides malloc.
//
// SPDX-License-Identifier: MIT
#include "cli/active_allocator.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

placed_object object(const std::string& path, std::uint64_t start, const words& needed = {},
                     const words& functions = {}) {
  placed_object placed;
  placed.facts.path = path;
  placed.facts.known = true;
  placed.facts.elf.shared_object_name = file_name(path);
  placed.facts.elf.needed = needed;
  placed.facts.functions = functions;
  placed.start = start;
  return placed;
}

words paths_of(const std::vector<object_facts>& objects) {
  words paths;
  for (const object_facts& each : objects)
    paths.push_back(each.path);
  return paths;
}

// As the kernel places them: what is loaded first is highest.
std::vector<placed_object> example() {
  return {object("/bin/program", 1, {"liba.so", "libc.so.6"}),
          object("/opened.so", 10, {}, {"malloc"}),
          object("/libdeep.so", 20),
          object("/libc.so.6", 30, {"ld-linux.so.2"}, {"free", "malloc"}),
          object("/liba.so", 40, {"libdeep.so"}),
          object("/second.so", 50, {}, {"malloc"}),
          object("/first.so", 60),
          object("/ld-linux.so.2", 70)};
}

TEST(in_search_order, program_then_preloaded_then_linked_breadth_first_then_opened) {
  const auto order = in_search_order(example(), std::vector<std::size_t>{6, 5});
  EXPECT_EQ(paths_of(order), (words{"/bin/program", "/first.so", "/second.so", "/liba.so",
                                    "/libc.so.6", "/libdeep.so", "/ld-linux.so.2", "/opened.so"}));
}

TEST(in_search_order, without_the_variable_addresses_tell_what_was_preloaded) {
  EXPECT_EQ(paths_of(in_search_order(example(), std::nullopt)),
            paths_of(in_search_order(example(), std::vector<std::size_t>{6, 5})));
}

TEST(in_search_order, what_was_opened_later_is_not_taken_for_preloaded) {
  const auto order = in_search_order(example(), std::vector<std::size_t>{});
  EXPECT_EQ(find_providers(order).at("malloc"), 2u); // libc.so.6, before all that is not linked
  EXPECT_EQ(order[2].path, "/libc.so.6");
  EXPECT_TRUE(in_search_order({}, std::nullopt).empty());
}

TEST(find_providers, the_first_that_defines_a_function_provides_it) {
  const auto order = in_search_order(example(), std::vector<std::size_t>{6, 5});
  const auto providers = find_providers(order);
  EXPECT_EQ(order[providers.at("malloc")].path, "/second.so");
  EXPECT_EQ(order[providers.at("free")].path, "/libc.so.6");
  EXPECT_FALSE(providers.contains("calloc"));
}

TEST(names_same_library, by_folder_and_name_up_to_the_version) {
  EXPECT_TRUE(names_same_library("/opt/no/libmete.so", "/opt/no/libmete.so.0.1.0"));
  EXPECT_TRUE(names_same_library("libmete.so.0", "/anywhere/libmete.so.0.1.0"));
  EXPECT_TRUE(names_same_library("/usr/$LIB/libmete.so", "/usr/lib/libmete.so"));
  EXPECT_FALSE(names_same_library("/opt/no/libmete.so", "/opt/yes/libmete.so"));
  EXPECT_FALSE(names_same_library("libmete.so", "/opt/libmetering.so"));
}

TEST(describe, path_name_and_version) {
  object_facts facts = object("/no/such/libmete.so.0.1.0", 0).facts;
  EXPECT_EQ(describe(facts, false), "/no/such/libmete.so.0.1.0 (mete 0.1.0)");
  facts.path = "/no/such/libjemalloc.so.2";
  EXPECT_EQ(describe(facts, false), "/no/such/libjemalloc.so.2 (jemalloc)");
  facts.path = "/no/such/libother.so";
  EXPECT_EQ(describe(facts, false), "/no/such/libother.so");
}

} // namespace
} // namespace mete::cli
