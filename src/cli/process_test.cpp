// SPDX-License-Identifier: MIT
#include "cli/process.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace mete::cli {
namespace {

TEST(process_test, words_reach_a_program_through_the_shell_as_they_are) {
  const std::vector<std::string> words{"plain-1.0", "",     "two words", "it's",
                                       "$HOME",     "a\nb", "*",         "~"};
  EXPECT_EQ(quoted_for_shell({"a", "b c", "d'e"}), R"(a 'b c' 'd'\''e')");
  int output[2];
  ASSERT_EQ(::pipe(output), 0);
  const std::string command = "printf '<%s>' " + quoted_for_shell(words);
  if (::fork() == 0) {
    ::dup2(output[1], 1);
    ::close(output[0]);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(output[1]);
  EXPECT_EQ(read_all(output[0]), "<plain-1.0><><two words><it's><$HOME><a\nb><*><~>");
  ::close(output[0]);
  ::wait(nullptr);
}

TEST(process_test, descendants_are_children_and_theirs) {
  int gate[2];
  ASSERT_EQ(::pipe(gate), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(gate[1]);
    ::fork();
    char go = 0;
    ::_exit(static_cast<int>(::read(gate[0], &go, 1)));
  }
  // The grandchild appears when it does.
  std::vector<pid_t> found;
  for (int tries = 0; found.size() < 2 && tries < 60'000; ++tries, ::usleep(1000))
    found = descendants_of(::getpid());
  EXPECT_EQ(found.size(), 2u);
  EXPECT_NE(std::find(found.begin(), found.end(), child), found.end());
  EXPECT_EQ(descendants_of(child).size(), 1u);
  ::close(gate[0]);
  ::close(gate[1]);
  ::waitpid(child, nullptr, 0);
}

} // namespace
} // namespace mete::cli
