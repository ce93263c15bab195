// SPDX-License-Identifier: MIT
#include "cli/candidate.hpp"

#include "cli/command.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace mete::cli {
namespace {

std::string error_of(const std::string& name) {
  try {
    find_candidate(name, "");
  } catch (const command_error& error) {
    EXPECT_EQ(error.status(), status_usage);
    return error.what();
  }
  return "";
}

TEST(candidate_test, the_c_library_needs_no_library) {
  const candidate glibc = find_candidate("glibc", "");
  EXPECT_EQ(glibc.name, "glibc");
  EXPECT_EQ(glibc.library, "");
  EXPECT_TRUE(glibc.version.starts_with("2."));
}

TEST(candidate_test, an_unknown_name_is_told_what_there_is) {
  const std::string error = error_of("nomalloc");
  EXPECT_NE(error.find("'nomalloc'"), error.npos);
  EXPECT_NE(error.find("jemalloc"), error.npos);
  EXPECT_NE(error.find("paths"), error.npos);
}

TEST(candidate_test, a_path_must_be_a_shared_library) {
  EXPECT_NE(error_of("/no/such/library.so").find("/no/such/library.so"), std::string::npos);
  EXPECT_NE(error_of("/etc/passwd").find("not a shared library"), std::string::npos);
}

TEST(candidate_test, a_path_is_named_after_its_file) {
  const candidate own = find_candidate("/proc/self/../../lib/x86_64-linux-gnu/libm.so.6", "");
  EXPECT_EQ(own.name, "libm");
  EXPECT_TRUE(own.library.ends_with("/libm.so.6"));
}

TEST(candidate_test, allocators_are_found_in_mappings) {
  const std::string maps =
      "5600-5700 r--p 00000000 fe:00 1 /usr/bin/redis-server\n"
      "7f00-7f10 r--p 00000000 fe:00 2 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2\n"
      "7f10-7f20 r-xp 00001000 fe:00 2 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2\n"
      "7f20-7f30 r--p 00000000 fe:00 3 /usr/lib/x86_64-linux-gnu/libc.so.6\n"
      "7f30-7f40 rw-p 00000000 00:00 0\n"
      "7f40-7f50 r--p 00000000 fe:00 4 /opt/a folder/libmete.so.0.1.0\n"
      "7f50-7f60 r--p 00000000 fe:00 5 /usr/lib/libmetering.so.1";
  EXPECT_EQ(allocators_in_maps(maps),
            (std::vector<std::string>{"/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
                                      "/opt/a folder/libmete.so.0.1.0"}));
  EXPECT_TRUE(allocators_in_maps("").empty());
}

} // namespace
} // namespace mete::cli
