// SPDX-License-Identifier: MIT
#include "os/thread.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <dlfcn.h>
#include <sys/auxv.h>

namespace mete::os {
namespace {

TEST(thread_test, code_of_the_dynamic_loader_is_known) {
  if (getauxval(AT_BASE) == 0)
    GTEST_SKIP() << "a static program";
  const void* const in_loader = dlsym(RTLD_DEFAULT, "_dl_mcount");
  ASSERT_NE(in_loader, nullptr);
  find_loader_code();
  EXPECT_TRUE(loader_code.contains(in_loader));
  EXPECT_FALSE(loader_code.contains(nullptr));
  EXPECT_FALSE(loader_code.contains(reinterpret_cast<const void*>(&std::free)));
  EXPECT_FALSE(loader_code.contains(reinterpret_cast<const void*>(&find_loader_code)));
}

TEST(thread_test, code_of_the_c_library_is_known) {
  if (getauxval(AT_BASE) == 0)
    GTEST_SKIP() << "a static program";
  const void* const in_library = dlsym(RTLD_DEFAULT, "gnu_get_libc_release");
  ASSERT_NE(in_library, nullptr);
  EXPECT_TRUE(is_c_library_code(in_library));
  EXPECT_FALSE(is_c_library_code(nullptr));
  EXPECT_FALSE(is_c_library_code(dlsym(RTLD_DEFAULT, "_dl_mcount")));
  EXPECT_FALSE(is_c_library_code(reinterpret_cast<const void*>(&is_c_library_code)));
}

} // namespace
} // namespace mete::os
