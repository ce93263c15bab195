// Reading what the loader prints about files and symbol bindings. The loader itself is in
// run_test.py.
//
// SPDX-License-Identifier: MIT
#include "cli/verify.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

TEST(parse_bindings, takes_user_provider_and_symbol) {
  const auto found = parse_bindings(
      "      4711:\tbinding file /bin/a b [0] to /lib/m.so [0]: normal symbol `malloc' "
      "[GLIBC_2.2.5]\n"
      "      4711:\t\n"
      "      4711:\tbinding file /lib/m.so [0] to /lib/c.so [0]: normal symbol `abort'\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].user, "/bin/a b");
  EXPECT_EQ(found[0].provider, "/lib/m.so");
  EXPECT_EQ(found[0].symbol, "malloc");
  EXPECT_EQ(found[1].symbol, "abort");
}

TEST(parse_bindings, ignores_everything_else) {
  EXPECT_TRUE(parse_bindings("").empty());
  EXPECT_TRUE(parse_bindings("\n\n").empty());
  EXPECT_TRUE(parse_bindings("undefined symbol: malloc (./a)\n").empty());
  EXPECT_TRUE(
      parse_bindings(" 1: binding file /bin/a [0] to /lib/m.so [0]: normal symbol `mal").empty());
}

TEST(parse_loaded_files, takes_paths_in_order_and_what_is_missing) {
  const auto files = parse_loaded_files("\tlinux-vdso.so.1 (0x00007fdf839ff000)\n"
                                        "\t/a b/libm.so (0x00007fdf83918000)\n"
                                        "      4711:\tbinding file /bin/a [0] to /lib/m.so [0]\n"
                                        "\tlibgone.so.1 => not found\n"
                                        "\tlibc.so.6 => /lib/libc.so.6 (0x00007fdf82c1e000)\n"
                                        "\t/lib64/ld-linux-x86-64.so.2 (0x00007fdf83a01000)\n");
  EXPECT_EQ(files.paths, (std::vector<std::string>{"/a b/libm.so", "/lib/libc.so.6",
                                                   "/lib64/ld-linux-x86-64.so.2"}));
  EXPECT_EQ(files.missing, std::vector<std::string>{"libgone.so.1"});
  EXPECT_TRUE(parse_loaded_files("\n\t\nERROR: ld.so\n").paths.empty());
}

} // namespace
} // namespace mete::cli
