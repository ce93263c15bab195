// The kernel's settings and limits, as texts.
//
// SPDX-License-Identifier: MIT
#include "cli/system_checks.hpp"

#include "cli/finding_for_test.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

constexpr std::uint64_t mib = 1024 * 1024;

TEST(memory_limit_check, the_limit_and_what_came_of_it) {
  cgroup_limits limits;
  EXPECT_EQ(said(check_memory_limit(limits)), "ok: no cgroup limits memory\n");
  limits.memory_max_bytes = 512 * mib;
  limits.memory_max_group = "/a";
  limits.memory_used_bytes = 5 * mib;
  EXPECT_EQ(said(check_memory_limit(limits)),
            "ok: the cgroup limits memory to 512 MiB (set by /a); 5 MiB in use\n");
  limits.memory_high_bytes = 400 * mib;
  EXPECT_TRUE(holds(said(check_memory_limit(limits)), "note: above 400 MiB (memory.high)"));
  limits.kills = 1;
  EXPECT_TRUE(holds(said(check_memory_limit(limits)), "problem: the kernel killed 1 process in"));
}

TEST(processors_check, more_to_see_than_the_quota_allows) {
  cgroup_limits limits;
  EXPECT_TRUE(holds(said(check_processors(limits, 8)), "ok: no cgroup limits processors; 8"));
  limits.processors = 1.5;
  EXPECT_TRUE(holds(said(check_processors(limits, 8)), "note: the cgroup's quota is 1.5 process"));
  EXPECT_TRUE(holds(said(check_processors(limits, 1)), "ok: "));
  limits.throttled_periods = 7;
  EXPECT_TRUE(holds(said(check_processors(limits, 1)), "note: the kernel stopped it in 7 periods"));
}

TEST(huge_pages_check, always_is_worth_a_note) {
  system_state system;
  process_facts process;
  EXPECT_EQ(said(check_huge_pages(system, process, true)), ""); // a kernel without them
  system.huge_pages = "always [madvise] never\n";
  system.huge_pages_defrag = "always defer defer+madvise [madvise] never\n";
  EXPECT_EQ(said(check_huge_pages(system, process, true)),
            "ok: transparent huge pages: madvise (defrag: madvise)\n");
  system.huge_pages = "[always] madvise never\n";
  process.status = "THP_enabled:\t1\n";
  process.smaps_rollup = "Rss: 1 kB\nAnonHugePages:      4096 kB\n";
  EXPECT_TRUE(holds(said(check_huge_pages(system, process, true)), "has 4 MiB in them"));
  EXPECT_TRUE(holds(said(check_huge_pages(system, process, true)), "note: "));
  EXPECT_FALSE(holds(said(check_huge_pages(system, process, false)), "4 MiB"));
  process.status = "THP_enabled:\t0\n";
  EXPECT_TRUE(holds(said(check_huge_pages(system, process, true)), "ok: "));
}

TEST(overcommit_check, strict_accounting) {
  system_state system;
  system.overcommit = "0\n";
  EXPECT_EQ(said(check_overcommit(system)), "ok: vm.overcommit_memory is 0\n");
  system.overcommit = "2\n";
  system.meminfo = "CommitLimit:   1024000 kB\nCommitted_AS:   102400 kB\n";
  EXPECT_TRUE(holds(said(check_overcommit(system)), "note: vm.overcommit_memory is 2: 100 MiB of "
                                                    "1000 MiB"));
  system.meminfo = "CommitLimit:   1024000 kB\nCommitted_AS:  1000000 kB\n";
  EXPECT_TRUE(holds(said(check_overcommit(system)), "problem: "));
}

TEST(mappings_check, near_the_limit) {
  system_state system;
  system.max_map_count = "1000\n";
  process_facts process;
  process.mappings = 500;
  EXPECT_TRUE(holds(said(check_mappings(system, process)), "ok: 500 mappings, of 1000"));
  process.mappings = 510;
  EXPECT_TRUE(holds(said(check_mappings(system, process)), "note: "));
  process.mappings = 910;
  EXPECT_TRUE(holds(said(check_mappings(system, process)), "problem: 910 mappings, of 1000 that "
                                                           "vm.max_map_count allows | sysctl "
                                                           "vm.max_map_count=4000"));
}

TEST(page_size_check, larger_pages) {
  system_state system;
  EXPECT_TRUE(holds(said(check_page_size(system)), "ok: "));
  system.page_bytes = 65536;
  EXPECT_TRUE(holds(said(check_page_size(system)), "note: pages have 65536 bytes"));
}

TEST(process_limits_check, what_is_limited_or_locked) {
  process_facts process;
  process.limits = "Limit                     Soft Limit           Hard Limit           Units\n"
                   "Max data size             unlimited            unlimited            bytes\n"
                   "Max address space         1073741824           unlimited            bytes\n";
  process.status = "VmLck:\t    2048 kB\n";
  const std::string text = said(check_process_limits(process, true));
  EXPECT_TRUE(holds(text, "note: address space is limited to 1024 MiB (RLIMIT_AS, ulimit -v)"))
      << text;
  EXPECT_TRUE(holds(text, "note: 2 MiB are locked")) << text;
  EXPECT_FALSE(holds(text, "RLIMIT_DATA")) << text;
  EXPECT_FALSE(holds(said(check_process_limits(process, false)), "locked"));
  EXPECT_TRUE(holds(said(check_process_limits({}, true)), "ok: "));
}

TEST(rseq_check, who_registers_it) {
  const system_state system;
  process_facts process;
  EXPECT_EQ(said(check_rseq(system, process, "2.36", false)), "ok: glibc 2.36 registers rseq\n");
  EXPECT_EQ(said(check_rseq(system, process, "", true)), "");
  EXPECT_TRUE(holds(said(check_rseq(system, process, "2.31", true)), "ok: glibc 2.31 does not"));
  EXPECT_TRUE(holds(said(check_rseq(system, process, "2.4", true)), "does not"));
  EXPECT_TRUE(holds(said(check_rseq(system, process, "2.36", true)),
                    "| GLIBC_TUNABLES=glibc.pthread.rseq=0"));
  process.environment = {"GLIBC_TUNABLES=glibc.pthread.rseq=0"};
  EXPECT_TRUE(holds(said(check_rseq(system, process, "2.36", true)), "(GLIBC_TUNABLES)"));
  system_state old;
  old.rseq = false;
  EXPECT_TRUE(holds(said(check_rseq(old, process, "2.36", false)), "note: the kernel has no"));
}

} // namespace
} // namespace mete::cli
