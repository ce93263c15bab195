// LD_PRELOAD and METE_OPTIONS keep what is there.
//
// SPDX-License-Identifier: MIT
#include "cli/environment.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace mete::cli {
namespace {

TEST(merge_preload, puts_the_library_first_and_keeps_the_rest_in_order) {
  EXPECT_EQ(merge_preload("/m.so", ""), "/m.so");
  EXPECT_EQ(merge_preload("/m.so", "a.so b.so:c.so"), "/m.so:a.so:b.so:c.so");
  EXPECT_EQ(merge_preload("/m.so", " : a.so ::"), "/m.so:a.so");
}

TEST(merge_preload, names_the_library_once) {
  EXPECT_EQ(merge_preload("/m.so", "/m.so"), "/m.so");
  EXPECT_EQ(merge_preload("/m.so", "a.so:/m.so:b.so"), "/m.so:a.so:b.so");
}

TEST(merge_preload, knows_the_library_behind_another_name) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "mete_merge_preload";
  std::filesystem::create_directories(folder);
  const std::string file = folder / "m.so";
  const std::string link = folder / "link.so";
  std::ofstream(file) << "x";
  std::filesystem::remove(link);
  std::filesystem::create_symlink(file, link);
  EXPECT_EQ(merge_preload(file, link + ":a.so"), file + ":a.so");
  std::filesystem::remove_all(folder);
}

TEST(preloadable, not_with_a_separator_in_the_path) {
  EXPECT_TRUE(preloadable("/usr/lib/libmete.so"));
  EXPECT_FALSE(preloadable("/my files/libmete.so"));
  EXPECT_FALSE(preloadable("/a:b/libmete.so"));
}

TEST(merge_options, adds_after_what_is_there) {
  EXPECT_EQ(merge_options("", {}), "");
  EXPECT_EQ(merge_options("", {"a=1"}), "a=1");
  EXPECT_EQ(merge_options("a=1,b=2", {"c=3", "d=4,e=5"}), "a=1,b=2,c=3,d=4,e=5");
}

TEST(merge_options, the_last_value_of_a_key_replaces_the_others) {
  EXPECT_EQ(merge_options("a=1,b=2", {"a=3"}), "b=2,a=3");
  EXPECT_EQ(merge_options("", {"a=1", "a=2"}), "a=2");
  EXPECT_EQ(merge_options("ab=1", {"a=2"}), "ab=1,a=2");
  EXPECT_EQ(merge_options("a=1", {"a="}), "a=");
}

TEST(is_option_list, wants_a_key_and_an_equals_sign_each) {
  EXPECT_TRUE(is_option_list("a=1"));
  EXPECT_TRUE(is_option_list("a="));
  EXPECT_TRUE(is_option_list("a=1,b=x=y"));
  EXPECT_FALSE(is_option_list(""));
  EXPECT_FALSE(is_option_list("a"));
  EXPECT_FALSE(is_option_list("=1"));
  EXPECT_FALSE(is_option_list("a=1,b"));
}

TEST(names_option, compares_whole_keys) {
  EXPECT_TRUE(names_option("a=1,verbose=0", "verbose"));
  EXPECT_FALSE(names_option("verbose_more=1", "verbose"));
  EXPECT_FALSE(names_option("", "verbose"));
}

} // namespace
} // namespace mete::cli
