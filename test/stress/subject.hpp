// The allocator under stress, as a few functions: the process's malloc (subject_process.cpp) or the
// core of mete without the malloc symbols (subject_core.cpp), whichever is linked.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace stress::subject {

// Ends the program unless the allocator is the one that the run is meant for. Returns its name.
const char* prepare();

void* allocate(std::size_t size);
void* allocate_zeroed(std::size_t size);
void* allocate_aligned(std::size_t alignment, std::size_t size);
void* reallocate(void* block, std::size_t size);
void deallocate(void* block);

} // namespace stress::subject
