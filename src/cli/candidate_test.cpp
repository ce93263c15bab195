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

TEST(candidate_test, libraries_are_known_by_their_names) {
  EXPECT_EQ(known_allocator_of("/usr/lib/libjemalloc.so.2"), "jemalloc");
  EXPECT_EQ(known_allocator_of("/opt/libmete.so.0.1.0"), "mete");
  EXPECT_EQ(known_allocator_of("/usr/lib/libc.so.6"), "");
  EXPECT_EQ(known_allocator_of("/usr/lib/libmetering.so.1"), "");
}

} // namespace
} // namespace mete::cli
