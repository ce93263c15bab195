// Sizes that every layer shares, in bytes unless the name says otherwise.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace mete {

inline constexpr std::size_t KiB = 1024;
inline constexpr std::size_t MiB = 1024 * KiB;
inline constexpr std::size_t GiB = 1024 * MiB;

// The granule of address space: every unit has one tag (page/region.hpp). 64 KiB is the largest
// page size of the supported processors, so that a unit is always a whole number of pages.
inline constexpr unsigned unit_shift = 16;
inline constexpr std::size_t unit_bytes = std::size_t{1} << unit_shift;

// Compilers assume this alignment of every block, tiny ones too (the ABI's max_align_t).
inline constexpr std::size_t block_alignment = 16;

inline constexpr std::size_t cache_line_bytes = 64;
inline constexpr std::size_t huge_page_bytes = 2 * MiB;

} // namespace mete
