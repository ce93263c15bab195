// Checks of `mete doctor`: what the kernel, its limits and the C library do to an allocator.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/cgroup.hpp"
#include "cli/finding.hpp"
#include "cli/process_facts.hpp"

#include <cstddef>
#include <optional>
#include <string>

namespace mete::cli {

// Texts of files that speak of the whole machine, and a few numbers.
struct system_state {
  std::string huge_pages;        // /sys/kernel/mm/transparent_hugepage/enabled
  std::string huge_pages_defrag; // the same folder's defrag
  std::string overcommit;        // /proc/sys/vm/overcommit_memory
  std::string meminfo;
  std::string max_map_count;
  std::size_t page_bytes = 4096;
  bool rseq = true; // the kernel has restartable sequences
};
system_state read_system_state();

findings check_memory_limit(const cgroup_limits& limits);
findings check_processors(const cgroup_limits& limits, std::size_t usable_processors);

// `running`: the process is there already, so that its figures mean something; else a program would
// inherit from this one.
findings check_huge_pages(const system_state& system, const process_facts& process, bool running);
findings check_overcommit(const system_state& system);
findings check_mappings(const system_state& system, const process_facts& process);
findings check_page_size(const system_state& system);
findings check_process_limits(const process_facts& process, bool running);

// Restartable sequences: who registers them. `c_library_version` of glibc, empty if not known;
// `google_tcmalloc`: it is in the process, and wants to register them itself.
findings check_rseq(const system_state& system, const process_facts& process,
                    const std::string& c_library_version, bool google_tcmalloc);

} // namespace mete::cli
