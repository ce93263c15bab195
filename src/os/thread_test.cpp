// SPDX-License-Identifier: MIT
#include "os/thread.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <link.h>
#include <string>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::os {
namespace {

TEST(thread_test, code_of_the_dynamic_loader_is_known) {
  const void* const in_loader = dlsym(RTLD_DEFAULT, "_dl_mcount");
  ASSERT_NE(in_loader, nullptr);
  find_loader_code();
  EXPECT_TRUE(loader_code.contains(in_loader));
  EXPECT_FALSE(loader_code.contains(nullptr));
  EXPECT_FALSE(loader_code.contains(reinterpret_cast<const void*>(&std::free)));
  EXPECT_FALSE(loader_code.contains(reinterpret_cast<const void*>(&find_loader_code)));
}

// Where the kernel starts the loader, and that the program, it does not say where the loader is.
TEST(thread_test, code_of_the_loader_is_known_if_it_is_the_program) {
  const char* loader = nullptr;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* found) {
        for (unsigned index = 0; index < info->dlpi_phnum; ++index)
          if (info->dlpi_phdr[index].p_type == PT_INTERP)
            *static_cast<const char**>(found) =
                reinterpret_cast<const char*>(info->dlpi_addr + info->dlpi_phdr[index].p_vaddr);
        return 1; // the program comes first
      },
      &loader);
  if (loader == nullptr)
    GTEST_SKIP() << "this is the loader's child already, or a static program";
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const pid_t child = fork();
  if (child == 0) {
    execl(loader, loader, program.c_str(),
          "--gtest_filter=thread_test.code_of_the_dynamic_loader_is_known", nullptr);
    _exit(127);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
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
