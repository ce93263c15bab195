// What is read of texts as the kernel writes them to /proc, and of this process itself.
//
// SPDX-License-Identifier: MIT
#include "cli/process_facts.hpp"

#include "cli/command.hpp"

#include <cstdint>
#include <cstring>
#include <elf.h>
#include <gtest/gtest.h>
#include <limits>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;
using namespace std::string_literals;

constexpr const char* maps =
    "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a program\n"
    "00651000-00652000 rw-p 00051000 08:02 173521      /usr/bin/a program\n"
    "00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
    "7f1c10000000-7f1c10021000 rw-p 00000000 00:00 0 \n"
    "7f1c20000000-7f1c20020000 r--p 00000000 08:02 5   /usr/lib/locale/locale-archive\n"
    "7f1c30000000-7f1c30028000 r--p 00000000 08:02 9   /usr/lib/libold.so.1 (deleted)\n"
    "7f1c30028000-7f1c301bd000 r-xp 00028000 08:02 9   /usr/lib/libold.so.1 (deleted)\n"
    "7f1c301bd000-7f1c301be000 r-xp 00028000 08:02 9   /usr/lib/libold.so.1 (deleted)\n"
    "7f1c40000000-7f1c40001000 r-xp 00000000 00:01 77  /memfd:code (deleted)\n"
    "7ffd1a5e6000-7ffd1a5e8000 r-xp 00000000 00:00 0   [vdso]\n";

TEST(objects_in_maps, files_with_code_once_each) {
  const auto objects = objects_in_maps(maps);
  ASSERT_EQ(objects.size(), 2u);
  EXPECT_EQ(objects[0].path, "/usr/bin/a program");
  EXPECT_EQ(objects[0].range, "400000-452000");
  EXPECT_FALSE(objects[0].deleted);
  EXPECT_EQ(objects[1].path, "/usr/lib/libold.so.1");
  EXPECT_EQ(objects[1].range, "7f1c30028000-7f1c301bd000");
  EXPECT_EQ(objects[1].start, 0x7f1c30000000u);
  EXPECT_TRUE(objects[1].deleted);
}

TEST(objects_in_maps, bad_lines_are_survived) {
  EXPECT_TRUE(objects_in_maps("").empty());
  EXPECT_TRUE(objects_in_maps("\n-\n /\nx\n").empty());
}

TEST(environment_of_a_process, is_split_at_zeros) {
  const words environment = parse_environment("A=1\0B=\0LD_PRELOAD=/x y\0"s);
  EXPECT_EQ(environment, (words{"A=1", "B=", "LD_PRELOAD=/x y"}));
  EXPECT_FALSE(is_overwritten(environment));
  EXPECT_EQ(variable_in(environment, "LD_PRELOAD"), "/x y");
  EXPECT_EQ(variable_in(environment, "B"), "");
  EXPECT_EQ(variable_in(environment, "LD"), std::nullopt);
}

TEST(environment_of_a_process, a_title_is_no_environment) {
  EXPECT_TRUE(is_overwritten(parse_environment("server: main\0\0\0B=1\0"s)));
  EXPECT_FALSE(is_overwritten(parse_environment("")));
}

template <typename Word>
std::string auxiliary_vector(Word secure) {
  const Word pairs[] = {AT_PAGESZ, 4096, AT_SECURE, secure, AT_NULL, 0};
  return {reinterpret_cast<const char*>(pairs), sizeof pairs};
}

TEST(is_secure, is_read_from_both_widths) {
  EXPECT_TRUE(is_secure(auxiliary_vector<std::uint64_t>(1), 64));
  EXPECT_FALSE(is_secure(auxiliary_vector<std::uint64_t>(0), 64));
  EXPECT_TRUE(is_secure(auxiliary_vector<std::uint32_t>(1), 32));
  EXPECT_FALSE(is_secure(auxiliary_vector<std::uint32_t>(0), 32));
  EXPECT_FALSE(is_secure("", 64));
  EXPECT_FALSE(is_secure("short", 32));
}

TEST(read_process, this_one) {
  const process_facts facts = read_process(::getpid());
  EXPECT_NE(facts.executable.find("unit_tests"), std::string::npos);
  EXPECT_GT(facts.mappings, facts.objects.size());
  EXPECT_FALSE(facts.secure);
  EXPECT_FALSE(facts.apart);
  EXPECT_FALSE(facts.objects.empty());
  EXPECT_EQ(::access(readable_path(facts, facts.objects.front()).c_str(), R_OK), 0);
}

std::string refusal_of(pid_t process) {
  try {
    read_process(process);
  } catch (const command_error& error) {
    EXPECT_EQ(error.status(), status_usage);
    return error.what();
  }
  return "none";
}

TEST(read_process, says_why_there_is_nothing_to_see) {
  EXPECT_NE(refusal_of(std::numeric_limits<pid_t>::max()).find("there is no process"),
            std::string::npos);
  const pid_t ended = ::fork();
  if (ended == 0)
    ::_exit(0);
  siginfo_t ignored{};
  ::waitid(P_PID, static_cast<id_t>(ended), &ignored, WEXITED | WNOWAIT);
  EXPECT_NE(refusal_of(ended).find("zombie"), std::string::npos);
  ::waitpid(ended, nullptr, 0);
}

} // namespace
} // namespace mete::cli
