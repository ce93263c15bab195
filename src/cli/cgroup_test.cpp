// Limits of control groups, on trees of both versions that are built in a folder of the test's own.
//
// SPDX-License-Identifier: MIT
#include "cli/cgroup.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

class cgroup_test : public testing::Test {
protected:
  cgroup_test() {
    std::string name = (fs::temp_directory_path() / "mete_cgroup_XXXXXX").string();
    mount = ::mkdtemp(name.data());
  }
  ~cgroup_test() override { fs::remove_all(mount); }

  void write(const std::string& path, const std::string& text) const {
    const fs::path file = fs::path(mount) / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string mount;
};

TEST_F(cgroup_test, version_2_takes_the_tightest_limit_on_the_way_up) {
  write("a/memory.max", "2097152\n");
  write("a/b/memory.max", "max\n");
  write("a/b/memory.high", "1048576\n");
  write("a/b/memory.current", "4096\n");
  write("a/b/memory.events", "low 0\noom 5\noom_kill 3\noom_group_kill 0\n");
  write("a/cpu.max", "50000 100000\n");
  write("a/b/cpu.max", "max 100000\n");
  write("a/b/cpu.stat", "usage_usec 9\nnr_periods 8\nnr_throttled 7\n");
  const cgroup_limits limits = read_cgroup("0::/a/b\n", mount);
  EXPECT_EQ(limits.memory_max_bytes, 2097152u);
  EXPECT_EQ(limits.memory_max_group, "/a");
  EXPECT_EQ(limits.memory_high_bytes, 1048576u);
  EXPECT_EQ(limits.memory_used_bytes, 4096u);
  EXPECT_EQ(limits.kills, 3u);
  EXPECT_EQ(limits.processors, 0.5);
  EXPECT_EQ(limits.throttled_periods, 7u);
}

TEST_F(cgroup_test, version_2_own_limit_is_tighter) {
  write("a/memory.max", "2097152\n");
  write("a/b/memory.max", "1048576\n");
  const cgroup_limits limits = read_cgroup("0::/a/b\n", mount);
  EXPECT_EQ(limits.memory_max_bytes, 1048576u);
  EXPECT_EQ(limits.memory_max_group, "/a/b");
}

TEST_F(cgroup_test, version_1_beside_an_empty_version_2) {
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("memory/x/memory.limit_in_bytes", "3145728\n");
  write("memory/x/memory.usage_in_bytes", "8192\n");
  write("memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  write("cpu/x/cpu.cfs_quota_us", "150000\n");
  write("cpu/x/cpu.cfs_period_us", "100000\n");
  write("cpu/cpu.cfs_quota_us", "-1\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  const cgroup_limits limits =
      read_cgroup("4:memory:/x\n3:cpuset:/\n2:cpu,cpuacct:/x\n0::/\n", mount);
  EXPECT_EQ(limits.memory_max_bytes, 3145728u);
  EXPECT_EQ(limits.memory_max_group, "/x");
  EXPECT_EQ(limits.memory_used_bytes, 8192u);
  EXPECT_EQ(limits.kills, 2u);
  EXPECT_EQ(limits.processors, 1.5);
}

TEST_F(cgroup_test, no_limits) {
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("cpu/cpu.cfs_quota_us", "-1\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  for (const char* groups : {"4:memory:/\n1:cpu:/\n0::/\n", "0::/a\n", "", "nonsense", "::"}) {
    const cgroup_limits limits = read_cgroup(groups, mount);
    EXPECT_FALSE(limits.memory_max_bytes) << groups;
    EXPECT_FALSE(limits.memory_high_bytes) << groups;
    EXPECT_FALSE(limits.processors) << groups;
    EXPECT_EQ(limits.kills, 0u) << groups;
  }
}

// As in a container without a cgroup namespace: its own group is the root of what is mounted.
TEST_F(cgroup_test, a_path_of_another_namespace_leads_to_the_root) {
  write("memory.max", "1048576\n");
  EXPECT_EQ(read_cgroup("0::/outside/container\n", mount).memory_max_bytes, 1048576u);
  EXPECT_EQ(read_cgroup("0::/\n", mount).memory_max_bytes, 1048576u);
}

} // namespace
} // namespace mete::cli
