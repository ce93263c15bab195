// Mappings: objects so large, or so strongly aligned, that they get a mapping of their own.
//
// They are outside of every region, so a table says where they are: open addressing by address,
// grown by doubling, deletions by moving entries back (D. Knuth, TAOCP vol. 3, 6.4, algorithm R).
// The call to the OS that each operation makes anyway costs far more than the table's lock.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace mete::heap {

// Zeroed memory of whole pages; nullptr if the OS refuses. O(1).
char* allocate_mapping(std::size_t bytes, std::size_t alignment);

// The size of the mapping that begins at `begin`; 0 if none does. What only looks (this,
// mapping_attachment() and mappings_in_use()) may do so in a signal handler that interrupted any of
// the others; but what changes must not interrupt who looks (front/gate.hpp).
std::size_t mapping_bytes(const void* begin);

// The mapping's size before it was released; 0 if none begins there.
std::size_t release_mapping(void* begin);

// Grows or shrinks, moving without copying if need be; nullptr, and nothing changed, if refused.
// REQUIRES: a live mapping.
char* resize_mapping(char* begin, std::size_t bytes);

// Makes a mapping of `bytes` out of committed pages that are elsewhere, which are left empty
// (os::move_out); nullptr, and nothing changed, if refused. Its attachment is nullptr.
char* move_into_mapping(char* from, std::size_t from_bytes, std::size_t bytes);

// A pointer that the owner of a live mapping may keep with it; nullptr at first.
void* mapping_attachment(const void* begin);
void attach_to_mapping(const void* begin, void* attachment);

// The kernel may place a mapping right below the state of the program's first thread, which lies in
// memory of the C library's. Its address, said once at the start, so that there is a guard in
// between before the first mapping is made.
void remember_first_thread(const void* state);

struct mapping_usage {
  std::size_t count;
  std::size_t bytes;
};
mapping_usage mappings_in_use();

// In the child of a fork: true if another thread held the lock (base/lock.hpp, reset_in_child()).
bool reset_mappings_lock_in_child();

} // namespace mete::heap
