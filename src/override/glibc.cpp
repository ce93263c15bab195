// glibc's interface for looking at and tuning the heap. Figures mean here what they can mean: a
// heap of slabs and runs has no "fastbins".
//
// SPDX-License-Identifier: MIT
#include "base/bits.hpp"
#include "base/options.hpp"
#include "front/initialise.hpp"
#include "front/maintenance.hpp"
#include "front/statistics.hpp"
#include "mete/mete.h"
#include "override/export.hpp"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <malloc.h>

using namespace mete;

namespace {

constexpr int max_mapping_threshold_of_glibc = 32 * 1024 * 1024;

int clip(std::size_t value) {
  return value > INT_MAX ? INT_MAX : static_cast<int>(value);
}

} // namespace

extern "C" {

METE_EXPORT struct mallinfo2 mallinfo2() noexcept {
  const front::statistics s = front::take_statistics();
  struct mallinfo2 info {};
  info.arena = s.committed_bytes;
  info.ordblks = s.slabs;
  info.hblks = s.mapping_count;
  info.hblkhd = s.mapping_bytes;
  info.uordblks = s.small_bytes + s.big_bytes;
  info.fordblks = difference_or_zero(s.committed_bytes, info.uordblks);
  info.keepcost = s.dirty_bytes;
  return info;
}

METE_EXPORT struct mallinfo mallinfo() noexcept {
  const struct mallinfo2 wide = mallinfo2();
  struct mallinfo info {};
  info.arena = clip(wide.arena);
  info.ordblks = clip(wide.ordblks);
  info.hblks = clip(wide.hblks);
  info.hblkhd = clip(wide.hblkhd);
  info.uordblks = clip(wide.uordblks);
  info.fordblks = clip(wide.fordblks);
  info.keepcost = clip(wide.keepcost);
  return info;
}

METE_EXPORT int malloc_info(int flags, FILE* stream) noexcept {
  if (flags != 0)
    return EINVAL;
  const front::statistics s = front::take_statistics();
  std::fprintf(stream,
               "<malloc version=\"1\">\n"
               "<heap nr=\"0\">\n<sizes>\n</sizes>\n"
               "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
               "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
               "<system type=\"current\" size=\"%zu\"/>\n"
               "<system type=\"max\" size=\"%zu\"/>\n"
               "<aspace type=\"total\" size=\"%zu\"/>\n"
               "<aspace type=\"mprotect\" size=\"%zu\"/>\n</heap>\n",
               s.slabs, s.slab_free_bytes + s.free_run_bytes, s.committed_bytes, s.committed_bytes,
               s.reserved_bytes, s.committed_bytes);
  std::fprintf(stream,
               "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
               "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
               "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
               "<system type=\"current\" size=\"%zu\"/>\n"
               "<system type=\"max\" size=\"%zu\"/>\n"
               "<aspace type=\"total\" size=\"%zu\"/>\n"
               "<aspace type=\"mprotect\" size=\"%zu\"/>\n</malloc>\n",
               s.slabs, s.slab_free_bytes + s.free_run_bytes, s.mapping_count, s.mapping_bytes,
               s.committed_bytes + s.mapping_bytes, s.committed_bytes + s.mapping_bytes,
               s.reserved_bytes, s.committed_bytes);
  return 0;
}

METE_EXPORT void malloc_stats() noexcept {
  front::print_statistics();
}

// As glibc: 1 if memory was given back. There is no top of the heap to pad.
METE_EXPORT int malloc_trim(std::size_t) noexcept {
  front::initialise();
  return front::collect() != 0 ? 1 : 0;
}

// 1 on success. What has no counterpart here is accepted, so that programs which check are content.
METE_EXPORT int mallopt(int parameter, int value) noexcept {
  const auto clamped = [value](const char* name, long long low) {
    set_option(name, value < low ? low : value);
    return 1;
  };
  switch (parameter) {
  case M_TRIM_THRESHOLD: // glibc: -1 switches trimming off
    return value < 0 ? clamped("dirty_limit", LLONG_MAX >> 14) : clamped("dirty_limit", 1);
  case M_MMAP_THRESHOLD:
    if (value < 0 || value > max_mapping_threshold_of_glibc)
      return 0;
    return clamped("mapping_threshold", 2 * 1024 * 1024);
  case M_MXFAST:
    return value >= 0 && value <= 160 ? 1 : 0; // glibc's bounds
  case M_TOP_PAD:
  case M_MMAP_MAX:
  case M_CHECK_ACTION:
  case M_PERTURB:
  case M_ARENA_TEST:
  case M_ARENA_MAX:
    return 1;
  default:
    return 0;
  }
}

METE_EXPORT int __libc_mallopt(int parameter, int value) noexcept {
  return mallopt(parameter, value);
}

} // extern "C"
